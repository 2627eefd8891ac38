"""The exception for a mistake that the user can fix, and its subclass for one that may pass by itself."""

from collections.abc import Iterator

from longspan.addresses import redacted

WRAPPED = ("cause", "controller_failure", "health_check_failure")
"""Attributes of Ray's errors that hold another one."""


class UserError(Exception):
    """A mistake that the user can fix: a wrong key, a missing object, an impossible combination.

    The message names the key, the value found and what would be right. Drivers print it without a
    traceback and exit with status 2. It is redacted here, once for all: texts of other libraries are
    part of many messages, and these may hold addresses with credentials in them.
    """

    def __init__(self, message: str) -> None:
        super().__init__(redacted(message))


class Unreachable(UserError):
    """The store did not answer, however often it was asked: a mistake in its address, or an outage."""


class DamagedObject(UserError):
    """An object that is not what the store itself says it is."""


def user_error_in(error: BaseException) -> UserError | None:
    """The :class:`UserError` that ``error`` is, wraps or was caused by; Ray wraps what its workers raise."""
    return next((found for found in errors_in(error) if isinstance(found, UserError)), None)


def errors_in(error: BaseException) -> Iterator[BaseException]:
    """An error and all that it wraps or was caused by, outermost first."""
    seen: set[int] = set()
    queue: list[BaseException] = [error]
    while queue:
        current = queue.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        linked = [current.__cause__, current.__context__]
        linked += [getattr(current, name, None) for name in WRAPPED]
        linked += list(getattr(current, "worker_failures", {}).values())
        queue += [link for link in linked if isinstance(link, BaseException)]
