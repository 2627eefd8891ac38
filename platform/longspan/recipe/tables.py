"""Words and tables that the parts of the plan share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from longspan.order.mixture import integer_weights


def shares(weights: Sequence[float]) -> list[float]:
    """Each source's share of the tokens, as the order of rows rounds it."""
    rounded = iter(integer_weights([weight for weight in weights if weight]))
    whole = [next(rounded) if weight else 0 for weight in weights]
    return [weight / sum(whole) for weight in whole]


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
