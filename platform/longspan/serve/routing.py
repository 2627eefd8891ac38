"""Which replica a request goes to: that of its session, whose cache holds the conversation's beginning.

Ray pickles this module by value for its proxies: it imports nothing of ours.
"""

from __future__ import annotations

import random
from typing import Any

from ray.serve.experimental.consistent_hash_router import ConsistentHashRouter


class SessionRouter(ConsistentHashRouter):
    """Requests with the same `x-session-id` share a replica; others go to the less busy of two."""

    async def choose_replicas(
        self, candidate_replicas: list[Any], pending_request: Any = None
    ) -> list[list[Any]]:
        """Replicas to try, a rank at a time; in a rank Serve asks for the shortest queue."""
        of_session = pending_request is not None and pending_request.metadata.session_id
        if of_session or not candidate_replicas:
            return await super().choose_replicas(candidate_replicas, pending_request)
        return [random.sample(candidate_replicas, min(2, len(candidate_replicas)))]
