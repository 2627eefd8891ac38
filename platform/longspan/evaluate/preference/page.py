"""The page on which people vote: one HTML file that works without a server and keeps votes in the browser."""

from __future__ import annotations

from dataclasses import asdict

from longspan.evaluate.preference.blind import BlindSet
from longspan.evaluate.report.html import Template, render

PAGE = Template(
    "longspan.evaluate.preference", "preference.html", "preference.js", ("preference.css",)
)


def preference_page(pairs: BlindSet) -> str:
    """Return the page as HTML; it holds prompts and replies, and nothing that names a model."""
    return render(PAGE, data={"set": pairs.set, "pairs": [asdict(pair) for pair in pairs.pairs]})
