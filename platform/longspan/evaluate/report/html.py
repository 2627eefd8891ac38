"""Templates of this package as HTML pages that load nothing and run no script but their own."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from longspan.evaluate.report.numbers import number, number_interval, tokens
from longspan.evaluate.report.tables import HEAT_STEPS
from longspan.evaluate.report.verdict import condition

if TYPE_CHECKING:
    from jinja2 import Environment

_HEAT_MARK = "HEAT_COLORS"


@dataclass(frozen=True)
class Template:
    """A page, whose files are in the folder `templates` of a package.

    Attributes:
        package: that has the files; templates of this package can be extended and included.
        name: of the template.
        script: of the page's own script.
        styles: of style sheets of the package, after the shared one.
    """

    package: str
    name: str
    script: str
    styles: tuple[str, ...] = ()


_SHARED = "longspan.evaluate.report"
REPORT = Template(_SHARED, "report.html", "report.js")
COMPARISON = Template(_SHARED, "compare.html", "report.js")


def render(template: Template, **values: Any) -> str:
    """Render a page; every value is escaped unless it is `Markup`.

    Raises:
        jinja2.UndefinedError: the template uses a value that is not given.
    """
    from markupsafe import Markup

    style = "\n".join(
        [_shared_style(), *(_text(template.package, name) for name in template.styles)]
    )
    script = _text(template.package, template.script)
    page = environment(template.package).get_template(template.name)
    return page.render(
        policy=content_policy(style, script), style=Markup(style), script=Markup(script), **values
    )


def environment(package: str) -> Environment:
    """Templates of a package and of this one, with escaping and without undefined values."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader(_SHARED)]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "tokens": tokens,
        "number": number,
        "interval": number_interval,
        "condition": condition,
    }
    return made


def content_policy(style: str, script: str) -> str:
    """Return the content security policy of a page: this style sheet and this script, and nothing else."""
    return (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _shared_style() -> str:
    """The style sheet of all pages, with the colors of heat maps from low to high."""
    steps = (
        f".h{step} {{ background: color-mix(in oklab, var(--high) {100 * step // HEAT_STEPS}%, var(--low)); }}"
        for step in range(HEAT_STEPS + 1)
    )
    return _text(_SHARED, "style.css").replace(_HEAT_MARK, "\n".join(steps))


def _text(package: str, name: str) -> str:
    return (resources.files(package) / "templates" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
