"""Documents that clients send to have their text taken out: how many a replica holds in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from longspan.serve.gateway.errors import Refusal

MAX_UPLOADS = 8
"""Documents that are received or read at once; each has up to `GatewayLimits.max_document_bytes`."""
MAX_UPLOADS_PER_KEY = 4


class Uploads:
    """The documents in memory, in total and of each key."""

    def __init__(self) -> None:
        self._of_keys: Counter[str] = Counter()

    @contextmanager
    def admit(self, key_name: str) -> Iterator[None]:
        """A context that one document spends inside, from before its first byte is read.

        Raises:
            Refusal: 429 where the key has too many, 503 where all have.
        """
        if self._of_keys[key_name] >= MAX_UPLOADS_PER_KEY:
            message = f"The key {key_name} may send {MAX_UPLOADS_PER_KEY} documents at once. Try again in 2 s."
            raise Refusal(429, message, code="rate_limit_exceeded", headers={"retry-after": "2"})
        if self._of_keys.total() >= MAX_UPLOADS:
            message = (
                f"The service is busy: {MAX_UPLOADS} documents are being read. Try again in 2 s."
            )
            raise Refusal(503, message, code="queue_full", headers={"retry-after": "2"})
        self._of_keys[key_name] += 1
        try:
            yield
        finally:
            self._of_keys[key_name] -= 1
            if not self._of_keys[key_name]:
                del self._of_keys[key_name]
