"""Visits as Ray metrics, for the cluster's Prometheus endpoint and its dashboards."""

from __future__ import annotations

from ray.util.metrics import Counter, Gauge, Histogram

from longspan.serve.gateway.request_log import RequestLog

_SECONDS = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0]


class RayMeter:
    """Counts requests, tokens and times in ``ray.util.metrics``; for a process that runs in Ray.

    All are called ``longspan_serve_*``; Ray puts ``ray_`` before a name, and ``_total`` after a
    counter's, when it shows them. A key is told by its name, "" is a request without one; a path is
    its route's label.

    - ``requests``, by key, path, status and ending (``done``, ``refused``, ``error``, ...);
    - ``tokens``, by key and kind (``prompt``, ``completion``);
    - ``request_seconds`` and ``first_byte_seconds``, histograms by path;
    - ``keys_age_seconds``, since the API keys were last read from the store.
    """

    def __init__(self) -> None:
        self._requests = Counter(
            "longspan_serve_requests",
            "Requests by key, path, status and ending.",
            ("key", "path", "status", "ended"),
        )
        self._tokens = Counter(
            "longspan_serve_tokens", "Tokens by key and kind (prompt, completion).", ("key", "kind")
        )
        self._request_seconds = Histogram(
            "longspan_serve_request_seconds",
            "Seconds from a request's arrival to its end.",
            _SECONDS,
            ("path",),
        )
        self._first_byte_seconds = Histogram(
            "longspan_serve_first_byte_seconds",
            "Seconds from a request's arrival to the first byte of its answer.",
            _SECONDS,
            ("path",),
        )

        self._keys_age = Gauge(
            "longspan_serve_keys_age_seconds", "Seconds since the store of API keys was listed."
        )

    def keys_age(self, seconds: float) -> None:
        """Show how old the known API keys are."""
        self._keys_age.set(seconds)

    def record(self, request_log: RequestLog) -> None:
        """Count one visit."""
        path = {"path": request_log.route}
        tags = {
            "key": request_log.key,
            "status": str(request_log.status),
            "ended": request_log.ended,
        }
        self._requests.inc(1, path | tags)
        self._request_seconds.observe(request_log.seconds, path)
        if request_log.first_byte_seconds is not None:
            self._first_byte_seconds.observe(request_log.first_byte_seconds, path)
        for kind, tokens in (
            ("prompt", request_log.prompt_tokens),
            ("completion", request_log.completion_tokens),
        ):
            if tokens:  # a counter takes no zero
                self._tokens.inc(tokens, {"key": request_log.key, "kind": kind})
