"""Patterns that name objects: `*` and `?` within one path component, `**` across components."""

from __future__ import annotations

import re
from dataclasses import dataclass

WILDCARD = re.compile(r"[*?]")


def is_glob(pattern: str) -> bool:
    """Whether a pattern has wildcards; one that has none names an object or a folder."""
    return WILDCARD.search(pattern) is not None


@dataclass(frozen=True)
class Glob:
    """A compiled pattern.

    As in a shell, a wildcard at the beginning of a component does not match a leading dot.

    Attributes:
        prefix: what every match begins with, up to the first wildcard.
        depth: levels below the prefix's folder at which matches lie; None is any number.
        regex: matches the whole of a path.
    """

    prefix: str
    depth: int | None
    regex: re.Pattern[str]

    @classmethod
    def compile(cls, pattern: str) -> Glob:
        """Compile a pattern that has wildcards."""
        first = WILDCARD.search(pattern)
        assert first, pattern
        prefix = pattern[: first.start()]
        components = pattern.split("/")
        deep = "**" in components
        depth = None if deep else len(components) - prefix.count("/")
        return cls(prefix, depth, re.compile(_expression(components), re.DOTALL))

    def matches(self, path: str) -> bool:
        """Whether a path matches the pattern."""
        return self.regex.fullmatch(path) is not None


def _expression(components: list[str]) -> str:
    visible = r"(?!\.)[^/]+"
    *folders, last = components
    parts = [
        rf"(?:{visible}/)*" if component == "**" else _component(component) + "/"
        for component in folders
    ]
    parts.append(rf"(?:{visible}/)*{visible}" if last == "**" else _component(last))
    return "".join(parts)


def _component(component: str) -> str:
    hidden = r"(?!\.)" if is_glob(component[:1]) else ""
    translated = re.sub(r"\*+|\?|[^*?]+", lambda match: _piece(match.group()), component)
    return hidden + translated


def _piece(piece: str) -> str:
    if piece.startswith("*"):
        return "[^/]*"
    return "[^/]" if piece == "?" else re.escape(piece)
