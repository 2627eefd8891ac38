"""Ray metrics of generation, for the cluster's Prometheus endpoint and its dashboards."""

from __future__ import annotations

from collections.abc import Sequence

from ray.util.metrics import Counter

from longspan.generate.requests import Row


class RequestMeter:
    """Counts ``longspan_<job>_requests``, by outcome, and ``longspan_<job>_tokens``, by kind.

    Both by stage. A request is ``accepted`` or ``rejected`` (its record has a problem); its tokens are those of the
    ``prompt`` and the ``reply``. Ray puts ``ray_`` before a name and ``_total`` after it.

    Args:
        job: part of the metrics' names, such as "instruct".
        stage: value of the label `stage`.
    """

    def __init__(self, job: str, stage: str) -> None:
        self._stage = {"stage": stage}
        self._requests = Counter(
            f"longspan_{job}_requests", "Requests, by stage and outcome.", ("stage", "outcome")
        )
        self._tokens = Counter(
            f"longspan_{job}_tokens", "Tokens, by stage and kind.", ("stage", "kind")
        )

    def add(self, rows: Sequence[Row]) -> None:
        """Count records."""
        rejected = sum(bool(row["problem"]) for row in rows)
        for outcome, number in (("accepted", len(rows) - rejected), ("rejected", rejected)):
            if number:  # A counter takes no zero.
                self._requests.inc(number, self._stage | {"outcome": outcome})
        for kind in ("prompt", "reply"):
            if tokens := sum(row[f"{kind}_tokens"] for row in rows):
                self._tokens.inc(tokens, self._stage | {"kind": kind})
