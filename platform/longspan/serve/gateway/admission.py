"""Who may begin a request now: the limits of keys, and the room of a replica."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from longspan.serve.gateway.errors import Refusal
from longspan.serve.gateway.keys import Key

WINDOW_SECONDS = 60.0
PATIENCE_SECONDS = 0.25
"""For a key's earlier request to leave: a client that sends one after another has the last bytes of
an answer a moment before the request has left."""
MAX_AUXILIARY = 8
"""Requests of one key at once that ask the model nothing: one must not take all of a replica's room."""


MAX_WAITING = 4
"""Requests of one key that wait so at once; others are refused without a wait."""


@dataclass(eq=False)  # Two requests are never the same, whatever they have used.
class TokenUsage:
    """Tokens of one request that was let in, as its key is charged for them.

    Attributes:
        reserved: while it runs, at least these.
        known: tokens that the engine has stated so far.
        charged: when it has ended, these.
    """

    reserved: int = 0
    known: Callable[[], int] = lambda: 0
    charged: int = 0

    def current(self) -> int:
        """Tokens while it runs."""
        return max(self.reserved, self.known())


class Admission:
    """Holds keys to their limits, within one process: each replica lets in that much.

    Args:
        clock: seconds, never going back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._uses: dict[str, _Use] = {}

    @asynccontextmanager
    async def admit(self, key: Key) -> AsyncIterator[TokenUsage]:
        """A context that one request of a key for an answer spends inside.

        Raises:
            Refusal: 429, with Retry-After, where the key may not.
        """
        use = self._uses.setdefault(key.name, _Use())
        await use.one_to_leave(key)
        use.check(key, self._clock())
        use.requests.add(1, self._clock())
        usage = TokenUsage()
        use.running.append(usage)
        try:
            yield usage
        finally:
            use.running.remove(usage)
            use.left.set()
            use.tokens.add(usage.charged, self._clock())

    @contextmanager
    def admit_auxiliary(self, key: Key) -> Iterator[None]:
        """The same for a request that asks the model nothing: a few at once, whatever the key's limits are.

        They cost no tokens, and the page counts tokens whenever somebody stops typing.
        """
        use = self._uses.setdefault(key.name, _Use())
        if use.auxiliary >= MAX_AUXILIARY:
            raise _too_many(key, f"{MAX_AUXILIARY} requests of this kind at once", 1.0)
        use.auxiliary += 1
        try:
            yield
        finally:
            use.auxiliary -= 1


class Room:
    """The requests that a replica has taken on.

    Args:
        size: the most there may be.
        share: of these, the part that one key may take; one request at least.
    """

    def __init__(self, size: int, share: float = 1.0) -> None:
        self._size = size
        self._of_each = max(1, math.ceil(size * share))
        self._taken: Counter[str] = Counter()

    @contextmanager
    def taken(self, key: str = "") -> Iterator[None]:
        """A context that one request spends inside.

        Args:
            key: the name of its key; "" for a request that another replica has let in.

        Raises:
            Refusal: 503 where it is full, 429 where the key has its share.
        """
        if self._taken.total() >= self._size:
            raise Refusal(
                503,
                f"The service is busy: {self._size} requests are waiting or running. Try again.",
                code="queue_full",
                headers={"retry-after": "1"},
            )
        if key and self._taken[key] >= self._of_each:
            raise Refusal(
                429,
                f"The key {key} has {self._of_each} requests waiting or running, as many as one key "
                "may have here. Try again in 1 s.",
                code="rate_limit_exceeded",
                headers={"retry-after": "1"},
            )
        self._taken[key] += 1
        try:
            yield
        finally:
            self._taken[key] -= 1
            if not self._taken[key]:
                del self._taken[key]


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

    def is_below(self, limit: int | None, more: int, now: float) -> bool:
        """Whether the total and some more are below a limit."""
        self._forget(now)
        return limit is None or self._total + more < limit

    def _forget(self, now: float) -> None:
        while self._entries and self._entries[0][0] <= now - WINDOW_SECONDS:
            self._total -= self._entries.popleft()[1]

    def wait(self, limit: int | None, now: float) -> float:
        """Seconds until the total is below a limit; 0 where it is."""
        self._forget(now)
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
    running: list[TokenUsage] = field(default_factory=list)
    waiting: int = 0
    auxiliary: int = 0
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever one stops running."""

    async def one_to_leave(self, key: Key) -> None:
        """Wait until fewer run than may, but not for long, and a few at most."""
        most = key.limits.concurrent
        if most is None or len(self.running) < most:
            return
        refusal = _too_many(key, f"{most} requests at once", 1.0)
        if self.waiting >= MAX_WAITING:
            raise refusal
        self.waiting += 1
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while len(self.running) >= most:
                    self.left.clear()
                    await self.left.wait()
        except TimeoutError:
            raise refusal from None
        finally:
            self.waiting -= 1

    def check(self, key: Key, now: float) -> None:
        """Raise a `Refusal` where the last minute is used up, by what has ended or what runs."""
        limits = key.limits
        if wait := self.requests.wait(limits.requests_per_minute, now):
            raise _too_many(key, f"{limits.requests_per_minute} requests per minute", wait)
        if wait := self.tokens.wait(limits.tokens_per_minute, now):
            raise _too_many(key, f"{limits.tokens_per_minute} tokens per minute", wait)
        running = sum(each.current() for each in self.running)
        if not self.tokens.is_below(limits.tokens_per_minute, running, now):
            limit = f"{limits.tokens_per_minute} tokens per minute, and those that run may need the rest"
            raise _too_many(key, limit, 1.0)


def _too_many(key: Key, limit: str, seconds: float) -> Refusal:
    wait = math.ceil(seconds)
    return Refusal(
        429,
        f"The key {key.name} may have {limit}. Try again in {wait} s.",
        code="rate_limit_exceeded",
        headers={"retry-after": str(wait)},
    )
