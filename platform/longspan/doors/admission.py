"""Who may begin a request now: the limits of keys, and the room of a replica."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from longspan.doors.errors import Refusal
from longspan.doors.keys import Key

WINDOW_SECONDS = 60.0
PATIENCE_SECONDS = 0.25
"""For a key's earlier request to leave: a client that sends one after another has the last bytes of
an answer a moment before the request has left."""
MOST_BESIDE = 8
"""Requests of one key at once that ask the model nothing: one must not take all of a replica's room."""


@dataclass
class Ticket:
    """What a request that was let in has used.

    Attributes:
        tokens: of prompt and answer; filled in before it leaves.
    """

    tokens: int = 0


class Admission:
    """Holds keys to their limits, within one process: each replica lets in that much.

    Args:
        clock: seconds, never going back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._uses: dict[str, _Use] = {}

    @asynccontextmanager
    async def admit(self, key: Key) -> AsyncIterator[Ticket]:
        """A context that one request of a key for an answer spends inside.

        Leaving counts what the ticket says.

        Raises:
            Refusal: 429, with Retry-After, where the key may not.
        """
        use = self._uses.setdefault(key.name, _Use())
        await use.one_to_leave(key)
        use.check(key, self._clock())
        use.requests.add(1, self._clock())
        use.running += 1
        ticket = Ticket()
        try:
            yield ticket
        finally:
            use.running -= 1
            use.left.set()
            use.tokens.add(ticket.tokens, self._clock())

    @contextmanager
    def beside(self, key: Key) -> Iterator[None]:
        """The same for a request that asks the model nothing: a few at once, whatever the key's limits are.

        They cost no tokens, and the page counts tokens whenever somebody stops typing.
        """
        use = self._uses.setdefault(key.name, _Use())
        if use.beside >= MOST_BESIDE:
            raise _too_many(key, f"{MOST_BESIDE} requests of this kind at once", 1.0)
        use.beside += 1
        try:
            yield
        finally:
            use.beside -= 1


class Room:
    """The requests that a replica has taken on.

    Args:
        size: the most there may be.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._taken = 0

    @contextmanager
    def taken(self) -> Iterator[None]:
        """A context that one request spends inside; a `Refusal` (503) where it is full."""
        if self._taken >= self._size:
            raise Refusal(
                503,
                f"The service is busy: {self._size} requests are waiting or running. Try again.",
                code="queue_full",
                headers={"retry-after": "1"},
            )
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1


class _Recent:
    """Amounts of the last 60 seconds."""

    def __init__(self) -> None:
        self._entries: deque[tuple[float, int]] = deque()
        self._total = 0

    def add(self, amount: int, now: float) -> None:
        """Count an amount."""
        if amount:
            self._entries.append((now, amount))
            self._total += amount

    def wait(self, limit: int | None, now: float) -> float:
        """Seconds until the total is below a limit; 0 where it is."""
        while self._entries and self._entries[0][0] <= now - WINDOW_SECONDS:
            self._total -= self._entries.popleft()[1]
        if limit is None or self._total < limit:
            return 0.0
        rest = self._total
        for when, amount in self._entries:
            rest -= amount
            if rest < limit:
                return when + WINDOW_SECONDS - now
        raise AssertionError(f"{self._total} in {len(self._entries)} entries, limit {limit}")


@dataclass
class _Use:
    """What a key has used and uses."""

    requests: _Recent = field(default_factory=_Recent)
    tokens: _Recent = field(default_factory=_Recent)
    running: int = 0
    beside: int = 0
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever one stops running."""

    async def one_to_leave(self, key: Key) -> None:
        """Wait until fewer run than may, but not for long."""
        most = key.limits.concurrent
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while most is not None and self.running >= most:
                    self.left.clear()
                    await self.left.wait()
        except TimeoutError:
            raise _too_many(key, f"{most} requests at once", 1.0) from None

    def check(self, key: Key, now: float) -> None:
        """Raise a `Refusal` where the last minute is used up."""
        limits = key.limits
        if wait := self.requests.wait(limits.requests_per_minute, now):
            raise _too_many(key, f"{limits.requests_per_minute} requests per minute", wait)
        if wait := self.tokens.wait(limits.tokens_per_minute, now):
            raise _too_many(key, f"{limits.tokens_per_minute} tokens per minute", wait)


def _too_many(key: Key, limit: str, seconds: float) -> Refusal:
    wait = math.ceil(seconds)
    return Refusal(
        429,
        f"The key {key.name} may have {limit}. Try again in {wait} s.",
        code="rate_limit_exceeded",
        headers={"retry-after": str(wait)},
    )
