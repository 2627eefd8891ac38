"""What a job has asked for as Ray metrics, for the cluster's Prometheus endpoint and its dashboards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ray.util.metrics import Counter


class Meter:
    """Counts ``longspan_instruct_requests``, by outcome, and ``longspan_instruct_tokens``, by kind.

    Both by stage (``questions``, ``critique``); a request is ``of use`` or not, its tokens are those of
    the ``prompt`` and the ``reply``. Ray puts ``ray_`` before a name and ``_total`` after it.
    """

    def __init__(self, stage: str) -> None:
        """Nothing is counted yet."""
        self._stage = {"stage": stage}
        self._requests = Counter(
            "longspan_instruct_requests",
            "Requests to the generator, by stage and outcome.",
            ("stage", "outcome"),
        )
        self._tokens = Counter(
            "longspan_instruct_tokens", "Tokens, by stage and kind.", ("stage", "kind")
        )

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Count records."""
        useless = sum(bool(row["problem"]) for row in rows)
        for outcome, number in (("of use", len(rows) - useless), ("of no use", useless)):
            if number:  # A counter takes no zero.
                self._requests.inc(number, self._stage | {"outcome": outcome})
        for kind in ("prompt", "reply"):
            if tokens := sum(row[f"{kind}_tokens"] for row in rows):
                self._tokens.inc(tokens, self._stage | {"kind": kind})
