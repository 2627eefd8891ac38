"""Tables and sizes as text, for plans and summaries."""

from __future__ import annotations

from collections.abc import Iterable


def table(rows: Iterable[tuple[str, ...]], header: tuple[str, ...] | None = None) -> str:
    """Columns of equal width; all rows have as many cells as the first."""
    lines = [*([header] if header else []), *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def count(number: int | None) -> str:
    """A number of things; None is not known."""
    return "unknown" if number is None else f"{number:,}"


def size(number: float | None) -> str:
    """Bytes; None is not known."""
    if number is None:
        return "unknown"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if number < 1024 or unit == "TiB":
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    raise AssertionError("unreachable")
