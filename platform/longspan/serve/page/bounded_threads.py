"""Threads for work that a client asks for, with a bound on what runs and on what waits.

An executor's own queue has none, and keeps the input of a call that was cancelled until a thread takes it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar
from weakref import WeakValueDictionary

T = TypeVar("T")


class Busy(Exception):
    """Too many calls are waiting.

    Args:
        retry_after_s: when to try again, in seconds.
    """

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = math.ceil(retry_after_s)


class BoundedThreads:
    """Runs blocking functions in threads: some at once, some of one owner, and so many may wait.

    A call holds its slot until its function has returned, also where its caller is gone by then: threads can't
    be cancelled, and callers that leave must not make room for more of them. A call that is cancelled while it
    waits is dropped at once, with all that it refers to.

    Args:
        name: of the threads.
        max_running: functions that run at once.
        max_running_per_owner: functions of one owner that run at once.
        max_waiting: calls that wait for a slot.
        retry_after_s: when a call that is refused is told to come back, in seconds.
    """

    def __init__(
        self,
        name: str,
        *,
        max_running: int,
        max_waiting: int,
        max_running_per_owner: int | None = None,
        retry_after_s: float = 1.0,
    ) -> None:
        self._name = name
        self._threads = ThreadPoolExecutor(max_running, name)
        self._slots = asyncio.Semaphore(max_running)
        self._max_of_owner = max_running_per_owner or max_running
        self._of_owners: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._max_waiting = max_waiting
        self._waiting = 0
        self._retry_after_s = retry_after_s

    async def run(self, function: Callable[[], T], *, owner: str = "") -> T:
        """Call a function in a thread and return what it returns.

        Args:
            function: that blocks.
            owner: on whose behalf; owners take turns.

        Raises:
            Busy: `max_waiting` calls are waiting.
        """
        # The calls that hold or wait for it keep it alive.
        of_owner = self._of_owners.get(owner) or asyncio.Semaphore(self._max_of_owner)
        self._of_owners[owner] = of_owner
        await self._acquire(of_owner)
        loop = asyncio.get_running_loop()

        def release() -> None:
            self._slots.release()
            of_owner.release()

        def returned(_: Future[T]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(release)

        work = self._threads.submit(function)
        work.add_done_callback(returned)
        return await asyncio.wrap_future(work)

    async def _acquire(self, of_owner: asyncio.Semaphore) -> None:
        waits = of_owner.locked() or self._slots.locked()
        if waits and self._waiting >= self._max_waiting:
            message = f"The service is busy: {self._waiting} {self._name} requests are waiting. Try again."
            raise Busy(message, self._retry_after_s)
        self._waiting += waits
        try:
            # The owner's first: one owner then has few places in the line that all share.
            await of_owner.acquire()
            try:
                await self._slots.acquire()
            except BaseException:
                of_owner.release()
                raise
        finally:
            self._waiting -= waits
