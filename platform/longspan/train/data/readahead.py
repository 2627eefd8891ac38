"""Fetching the next item while the caller works on this one."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

Item = TypeVar("Item")


class ReadAhead(Iterator[Item], Generic[Item]):
    """An iterator that is one item ahead, on a thread of its own; the first is fetched at once.

    What the fetching raises is raised in the item's place.
    """

    def __init__(self, items: Iterator[Item]) -> None:
        """Begin with the first item."""
        self._items = items
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
        self._fetch()

    def __next__(self) -> Item:
        """The next item, waited for if it is not there yet."""
        item = self._ahead.result()  # at the end this raises StopIteration, as fetching it did
        self._fetch()
        return item

    def close(self) -> None:
        """Fetch no more; an item on its way is not waited for."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _fetch(self) -> None:
        self._ahead = self._thread.submit(next, self._items)
