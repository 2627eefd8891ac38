"""Templates of this package as HTML pages that load nothing and run no script but their own."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import TYPE_CHECKING, Any

from longspan.evaluate.report.numbers import number, number_interval, tokens
from longspan.evaluate.report.tables import HEAT_STEPS

if TYPE_CHECKING:
    from jinja2 import Environment

_HEAT_MARK = "HEAT_COLORS"


def render(template: str, **values: Any) -> str:
    """Render a template; every value is escaped unless it is `Markup`.

    Raises:
        jinja2.UndefinedError: the template uses a value that is not given.
    """
    from markupsafe import Markup

    style, script = _style(), _text("report.js")
    return (
        environment()
        .get_template(template)
        .render(
            policy=content_policy(style, script),
            style=Markup(style),
            script=Markup(script),
            **values,
        )
    )


def environment() -> Environment:
    """The templates, with escaping and without undefined values."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("longspan.evaluate.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"tokens": tokens, "number": number}
    made.globals["number_interval"] = number_interval
    return made


def content_policy(style: str, script: str) -> str:
    """Return the content security policy of a page: this style sheet and this script, and nothing else."""
    return (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _style() -> str:
    """The style sheet with the colors of heat maps, from low to high."""
    steps = (
        f".h{step} {{ background: color-mix(in oklab, var(--high) {100 * step // HEAT_STEPS}%, var(--low)); }}"
        for step in range(HEAT_STEPS + 1)
    )
    return _text("style.css").replace(_HEAT_MARK, "\n".join(steps))


def _text(name: str) -> str:
    return (resources.files(__package__) / "templates" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
