"""Requests without a reply: how records state it, and which of them are never made again."""

from __future__ import annotations

from collections.abc import Mapping

from longspan.generate.requests import TRANSIENT, Failure, FailureKind

_KINDS: Mapping[FailureKind, str] = {
    "no_prompt": "unmeasurable",
    "over_length": "over_length",
    "refused": "refused",
}
PROBLEMS = frozenset({*_KINDS.values(), "unanswered"})
"""Kinds of problems of a record, before the colon."""


def is_rejected(failure: Failure | None) -> bool:
    """Whether a request would fail again: it is recorded, for the window that the model has now."""
    return failure is not None and failure.kind not in TRANSIENT


def problem_of(failure: Failure | None) -> str:
    """Return "<kind>: <message>", with one of `PROBLEMS` as the kind; "" without a failure."""
    if failure is None:
        return ""
    kind = _KINDS.get(failure.kind, "unanswered") if is_rejected(failure) else "unanswered"
    return f"{kind}: {failure.message}"
