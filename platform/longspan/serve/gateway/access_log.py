"""The access log: one JSON line a request."""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime

from longspan.serve.gateway.request_log import RequestLog

NAME = "longspan.access"
_MAX_PATH = 200
_KEY = re.compile(r"ls-[A-Za-z0-9_-]{16,}")


class AccessLog:
    """Writes visits to the logger ``longspan.access``, at INFO.

    A line holds the time, the request's id, the key's name, method, path, status, seconds, seconds
    to the first byte, tokens, bytes, the client's address, whether it was a stream, and how it
    ended. It never holds text of prompts or answers, a query string, or a key, not even one that a
    client put into the path.
    """

    def __init__(self) -> None:
        self._log = logging.getLogger(NAME)

    def record(self, request_log: RequestLog) -> None:
        """Write one line."""
        if not self._log.isEnabledFor(logging.INFO):
            return
        first = request_log.first_byte_seconds
        line = {
            "time": datetime.fromtimestamp(request_log.began, UTC).isoformat(
                timespec="milliseconds"
            ),
            "request_id": request_log.request_id,
            "key": request_log.key,
            "method": request_log.method,
            "path": _KEY.sub("ls-...", request_log.path)[:_MAX_PATH],
            "status": request_log.status,
            "seconds": round(request_log.seconds, 4),
            "first_byte_seconds": None if first is None else round(first, 4),
            "prompt_tokens": request_log.prompt_tokens,
            "completion_tokens": request_log.completion_tokens,
            "bytes_in": request_log.bytes_in,
            "bytes_out": request_log.bytes_out,
            "client": request_log.client,
            "stream": request_log.stream,
            "ended": request_log.ended,
        }
        self._log.info("%s", json.dumps(line))
