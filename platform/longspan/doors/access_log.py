"""The access log: one JSON line a request."""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime

from longspan.doors.visit import Visit

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

    def record(self, visit: Visit) -> None:
        """Write one line."""
        if not self._log.isEnabledFor(logging.INFO):
            return
        first = visit.first_byte_seconds
        line = {
            "time": datetime.fromtimestamp(visit.began, UTC).isoformat(timespec="milliseconds"),
            "request_id": visit.request_id,
            "key": visit.key,
            "method": visit.method,
            "path": _KEY.sub("ls-...", visit.path)[:_MAX_PATH],
            "status": visit.status,
            "seconds": round(visit.seconds, 4),
            "first_byte_seconds": None if first is None else round(first, 4),
            "prompt_tokens": visit.prompt_tokens,
            "completion_tokens": visit.completion_tokens,
            "bytes_in": visit.bytes_in,
            "bytes_out": visit.bytes_out,
            "client": visit.client,
            "stream": visit.stream,
            "ended": visit.ended,
        }
        self._log.info("%s", json.dumps(line))
