"""Objects as local files."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType


class LocalCopy:
    """An object as a local file, while the context that this is lasts.

    Attributes:
        path: the file's path, for this process to read.
        verified: whether its content is known to be the object's; False where the store keeps
            nothing that a copy could be compared with but its size.
    """

    def __init__(self, path: str, verified: bool, close: Callable[[], None]) -> None:
        """A copy.

        Args:
            path: where it is.
            verified: see above.
            close: called at the end, unless an interrupt ends it; may raise a UserError.
        """
        self.path = path
        self.verified = verified
        self._close = close

    def close(self) -> None:
        """End the use of the file."""
        self._close()

    def __enter__(self) -> LocalCopy:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # What close() has to say explains any error in the content; but it stops no interrupt.
        if kind is None or issubclass(kind, Exception):
            self._close()
