"""How many requests a replica takes, and how many wait for one in Serve's proxy."""

from __future__ import annotations

import os

from longspan.serve.schema import ServeSettings

SPARE_REQUESTS = 64
"""On their way in a replica beside those that its gateway admits: the page's, probes, and those that
the gateway refuses, which says more than to keep them waiting."""
WAITING_BYTES = 2**30
"""Of bodies that one of Serve's proxies holds, at most, for requests that wait for a replica."""
MIN_WAITING = 64
"""Serve counts a request as waiting also while it chooses a replica: a lower one refuses bursts that have room."""


def max_ongoing(settings: ServeSettings) -> int:
    """Requests that one replica takes at once."""
    requests = settings.limits.max_requests
    # One that is passed on is at two replicas until it is answered.
    return requests + SPARE_REQUESTS + (requests if relays(settings) else 0)


def max_waiting(settings: ServeSettings, window: int) -> int:
    """Requests that wait in one of Serve's proxies while no replica has room; others are told with 503.

    The proxy reads a body to its end before a replica has the request: what waits is held in memory.

    Args:
        settings: of the service.
        window: tokens of the model's window, which the largest body follows from.
    """
    in_memory = WAITING_BYTES // settings.limits.body_bytes(window)
    return min(max_ongoing(settings), max(MIN_WAITING, in_memory))


def relays(settings: ServeSettings) -> bool:
    """Whether replicas pass prompts on to each other; not where HAProxy chose them, for it has no such router."""
    return settings.replicas.max > 1 and settings.replicas.prefix_characters > 0 and not haproxy()


def haproxy() -> bool:
    """Whether HAProxy takes the place of Serve's own proxy, as `ray start` was told: it routes by itself."""
    return os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") == "1"
