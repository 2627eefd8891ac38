"""Figures of matplotlib as elements of an HTML page that the page's style sheet can color."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

_NAMESPACE = "{http://www.w3.org/2000/svg}"
_XLINK = "{http://www.w3.org/1999/xlink}"
_DROPPED = {"metadata", "style"}
_FONT = "font-family"
"""Left to the page, like every color: `report.css` has a rule for each color of `observe.figures`."""


def inline_svg(figure: Figure, name: str, label: str) -> Markup:
    """Return a figure as an `<svg>` element without styles of its own.

    A content security policy with hashes forbids `style` attributes, so that they become presentation
    attributes, which rules of the page override; text stays text.

    Args:
        figure: drawn with `observe.figures.style()`; its background is left out.
        name: prefix of all ids in it, unique in the page.
        label: what a reader who cannot see it is told.
    """
    from markupsafe import Markup
    from matplotlib import rc_context

    from longspan.observe.figures import rendered

    figure.patch.set_alpha(0)
    for axes in figure.axes:
        axes.patch.set_alpha(0)
    with rc_context({"svg.fonttype": "none"}):
        source = rendered(figure, "svg")
    root = ElementTree.fromstring(source)
    _prune(root)
    used = _referenced(root)
    for element in root.iter():
        _simplify(element, name, used)
    _, _, width, height = root.get("viewBox", "0 0 1 1").split()
    root.attrib = {
        "viewBox": f"0 0 {width} {height}",
        "role": "img",
        "aria-label": label,
        "stroke-linejoin": "round",
    }
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _prune(element: ElementTree.Element) -> None:
    """Remove metadata, the style sheet, and shapes that cannot be seen."""
    for child in list(element):
        name = child.tag.removeprefix(_NAMESPACE)
        if name in _DROPPED or child.get("style") == "fill: none; opacity: 0":
            element.remove(child)
        else:
            _prune(child)


def _referenced(root: ElementTree.Element) -> set[str]:
    """Ids that other elements refer to."""
    used = set()
    for element in root.iter():
        used.add(element.get(f"{_XLINK}href", "").removeprefix("#"))
        used.add(element.get("clip-path", "").removeprefix("url(#").removesuffix(")"))
    return used - {""}


def _simplify(element: ElementTree.Element, name: str, used: set[str]) -> None:
    element.tag = element.tag.removeprefix(_NAMESPACE)
    element.text = element.text if element.tag == "text" else None
    element.tail = "\n" if element.tag in ("g", "path", "text") else None
    given, attributes = dict(element.attrib), {}
    if (own := given.pop("id", "")) in used:
        attributes["id"] = f"{name}-{own}"
    if target := given.pop(f"{_XLINK}href", ""):
        attributes["href"] = f"#{name}-{target.removeprefix('#')}"
    if clip := given.pop("clip-path", ""):
        attributes["clip-path"] = clip.replace("#", f"#{name}-")
    for declaration in filter(None, map(str.strip, given.pop("style", "").split(";"))):
        key, _, value = declaration.partition(":")
        if key != _FONT:
            attributes[key] = value.strip()
    if "d" in given:
        given["d"] = " ".join(given["d"].split())
    element.attrib = attributes | given
