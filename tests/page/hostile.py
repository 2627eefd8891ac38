"""Texts that make a careless renderer of Markdown do much for little; each is about `size` characters long."""

from collections.abc import Callable


def _table(columns: int, rows: str) -> str:
    return "|".join("x" * columns) + "\n" + "|".join("-" * columns) + "\n" + rows


def _deep(size: int, *parts: str) -> str:
    """Lines, each indented by two more than the one before."""
    lines, length = [], 0
    while length < size:
        lines.append("  " * len(lines) + parts[len(lines) % len(parts)])
        length += len(lines[-1]) + 1
    return "\n".join(lines)


def _runs(size: int, mark: str, apart: str) -> str:
    """Runs of a mark, each longer by one than the one before."""
    return apart.join(mark * length for length in range(1, int((2 * size) ** 0.5)))


PATHOLOGICAL: dict[str, Callable[[int], str]] = {
    "square table": lambda size: _table(size // 6, "x\n" * (size // 6)),
    "table of short rows": lambda size: _table(60, "x\n" * (size // 2)),
    "table of full rows": lambda size: _table(8, ("x|" * 7 + "x\n") * (size // 16)),
    "table of empty cells": lambda size: _table(30, ("|" * 31 + "\n") * (size // 32)),
    "table of one column": lambda size: "|a|\n|-|\n" + "x\n" * (size // 2),
    "table of long rows": lambda size: _table(4, ("x|" * 500 + "\n") * (size // 1001)),
    "many tables": lambda size: "a|b\n-|-\n\n" * (size // 9),
    "many wide tables": lambda size: (_table(60, "x\n" * 60) + "\n") * (size // 362),
    "tables in a list": lambda size: "- a|b\n  -|-\n  x\n" * (size // 16),
    "heads of tables": lambda size: "a|b\n" * (size // 4),
    "dashes of tables": lambda size: "-|-\n" * (size // 4),
    "almost dashes": lambda size: "a|b\n" + "-|" * (size // 2) + "x",
    "dashes, spaces": lambda size: "a|b\n-" + " " * size + "x",
    "stars around": lambda size: "*" * (size // 2) + "a" + "*" * (size // 2),
    "pairs of stars around": lambda size: "**" * (size // 4) + " a " + "**" * (size // 4),
    "stars": lambda size: "*" * size,
    "open stars": lambda size: "**a " * (size // 4),
    "closing stars": lambda size: "a** " * (size // 4),
    "stars both ways": lambda size: "**a" * (size // 3),
    "stars and underscores": lambda size: "*a_ " * (size // 4),
    "nested emphasis": lambda size: "*a **b " * (size // 14) + "c** a* " * (size // 14),
    "tildes": lambda size: "~~a " * (size // 4),
    "runs of stars": lambda size: _runs(size, "*", "a"),
    "brackets": lambda size: "[" * (size // 2) + "]" * (size // 2),
    "open brackets": lambda size: "[a" * (size // 2),
    "open images": lambda size: "![a" * (size // 3),
    "links": lambda size: "[a](https://b)" * (size // 14),
    "links in links": lambda size: "[" * (size // 6) + "a" + "](b)" * (size // 6),
    "open links": lambda size: "[a](b" * (size // 5),
    "open targets": lambda size: "[a](<b" * (size // 6),
    "open titles": lambda size: '[a](b "c' * (size // 8),
    "target, spaces": lambda size: "[a](" + " " * size + "b",
    "target, spaces, title": lambda size: "[a](b" + " " * size + '"c',
    "target of parentheses": lambda size: "[a](" + "(" * size,
    "backslashes": lambda size: "\\" * size,
    "escapes": lambda size: "\\*" * (size // 2),
    "runs of backticks": lambda size: _runs(size, "`", " "),
    "code": lambda size: "`a` " * (size // 4),
    "open code": lambda size: "`a``b" * (size // 5),
    "addresses": lambda size: "https://a " * (size // 10),
    "address, dots": lambda size: "https://a" + "." * size + "x",
    "open angles": lambda size: "<https://a" * (size // 10),
    "angles": lambda size: "<" * size,
    "quotes": lambda size: (">" * 40 + "\n") * (size // 41),
    "one deep quote": lambda size: "> " * (size // 2) + "a",
    "lists in a line": lambda size: "- " * (size // 2) + "a",
    "deep lists": lambda size: _deep(size, "- a"),
    "deep mixed lists": lambda size: _deep(size, "- a", "1. b", "> c"),
    "lists and quotes": lambda size: "- > " * (size // 4) + "a",
    "empty items": lambda size: "-\n" * (size // 2),
    "items of other kinds": lambda size: "- a\n+ b\n* c\n" * (size // 12),
    "tasks": lambda size: "- [x] a\n" * (size // 8),
    "numbers": lambda size: "999999999. a\n" * (size // 13),
    "headings": lambda size: "# a\n" * (size // 4),
    "heading, hashes": lambda size: "# " + "# " * (size // 2) + "x",
    "heading, spaces": lambda size: "# a" + " " * size + "\u2028b",
    "rules": lambda size: "---\n\n" * (size // 5),
    "almost a rule": lambda size: "- " * (size // 2) + "x",
    "fences": lambda size: "```\n```\n" * (size // 8),
    "open fences": lambda size: "```\n~~~\n" * (size // 8),
    "fence, spaces": lambda size: "```" + " " * size + "`",
    "fence of tildes": lambda size: "~" * size + "`",
    "item, spaces": lambda size: "- " + " " * size + "\u2028x",
    "line ends": lambda size: "a  \n" * (size // 4),
    "empty lines": lambda size: "\n" * size,
    "one word a line": lambda size: "a\n" * (size // 2),
    "paragraphs": lambda size: "a\n\n" * (size // 3),
    "one line": lambda size: "a" * size,
    "spaces": lambda size: " " * size + "a",
    "HTML": lambda size: "<b>" * (size // 3),
    "entities": lambda size: "&#x41;&amp;" * (size // 11),
    "footnotes": lambda size: "[^1]: a [^1]\n" * (size // 13),
    "definitions": lambda size: "[a]: https://b\n" * (size // 15),
    "zero bytes": lambda size: "\0*" * (size // 2),
    "combining characters": lambda size: "a\u0301*" * (size // 3),
}
