"""Requests without a reply: how records state it, and which of them are never made again."""

from __future__ import annotations

from longspan.generate.requests import TRANSIENT, Failure


def is_rejected(failure: Failure | None) -> bool:
    """Whether a request would fail again: it is recorded, for the window that the model has now."""
    return failure is not None and failure.kind not in TRANSIENT


def problem_of(failure: Failure | None) -> str:
    """Return "over_length: ...", "refused: ..." or "unanswered: ..."; "" without a failure."""
    if failure is None:
        return ""
    kind = failure.kind if is_rejected(failure) else "unanswered"
    return f"{kind}: {failure.message}"
