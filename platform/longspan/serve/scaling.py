"""How many replicas there are: by the tokens they have to do, not by the requests.

Ray pickles this module by value for its controller: it imports nothing of ours.
"""

from __future__ import annotations

from typing import Any, Protocol

METRIC = "tokens"
"""What a replica reports: prompt and expected answer of all that it has queued or running."""


class Situation(Protocol):
    """What the policy reads of Ray's AutoscalingContext."""

    aggregated_metrics: dict[str, dict[Any, float]] | None
    total_queued_requests: float
    config: Any


class TokensPolicy:
    """As many replicas as the tokens need, each with `target_tokens` of them."""

    def __init__(self, target_tokens: int) -> None:
        self.target_tokens = target_tokens

    def __call__(self, situation: Situation) -> tuple[float, dict[str, Any]]:
        """The number of replicas wanted, and the state to be given next time (there is none).

        Requests that wait outside the replicas have no known length: each counts as one replica's
        share of requests, so that they are never overlooked.
        """
        reported = (situation.aggregated_metrics or {}).get(METRIC, {})
        waiting = situation.total_queued_requests / situation.config.target_ongoing_requests
        return sum(reported.values()) / self.target_tokens + waiting, {}
