"""Deaths of a job's processes as Ray reports them, one line each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from ray.exceptions import (
    ActorDiedError,
    LocalRayletDiedError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayActorError,
    RayTaskError,
    WorkerCrashedError,
)

from longspan._compat.ray_core import ACTOR_ROLES
from longspan.addresses import redacted
from longspan.errors import errors_in, user_error_in


class ProcessDied(Exception):
    """A process of the job has died; the message is a line that says which, and why.

    Ray's own errors cannot travel from a worker: they hold protocol buffers, which cannot be pickled.
    """


DEATHS = (
    WorkerCrashedError,
    OutOfMemoryError,
    NodeDiedError,
    ObjectLostError,
    LocalRayletDiedError,
)
"""Deaths other than an actor's."""

ROLES = {**ACTOR_ROLES, "Collector": "the process that collects the job's output"}
"""Role of an actor in a job, by the beginning of its class's name."""

DIED_WITH_ITS_OWNER = "the process that started it died before"

REASONS = (
    (
        r"NODE_OUT_OF_MEMORY|memory usage threshold|memory pressure",
        "Ray ended it because its node had too little memory left",
    ),
    (r"its node has died", "its node is gone"),
    (r"its owner has died", DIED_WITH_ITS_OWNER),
    (r"killed by `ray\.kill`", "the job ended it"),
    (
        r"worker process has died",
        "it was killed, as by the kernel where memory runs out, or crashed",
    ),
)
"""Why an actor died, by what Ray says of it; the first that matches."""


def death_in(error: BaseException) -> str | None:
    """A process of the job that has died, and why, if that is what an error tells of.

    An actor that failed in its constructor is not one: the constructor's own error says more.
    """
    found = [line for line in map(_death, errors_in(error)) if line]
    # Where a process has taken others with it, the first one to go says why.
    found.sort(key=lambda line: line.endswith(DIED_WITH_ITS_OWNER))
    return found[0] if found else None


@contextmanager
def deaths_in_words() -> Iterator[None]:
    """In a worker: raise `ProcessDied` where an error tells of a dead process.

    Raises:
        ProcessDied: another process has died; all other errors pass as they are.
    """
    try:
        yield
    except Exception as error:
        death = None if user_error_in(error) else death_in(error)
        if death is None:
            raise
        raise ProcessDied(death) from error


def _death(error: BaseException) -> str | None:
    text = redacted(str(error))
    if isinstance(error, RayTaskError) and ActorDiedError.BASE_ERROR_MSG in text:
        # A task that met the death of an actor; Ray keeps the text alone.
        return _actor(text[text.index(ActorDiedError.BASE_ERROR_MSG) :])
    if isinstance(error, ProcessDied):
        return text
    if isinstance(error, RayActorError):
        return None if error.actor_init_failed else _actor(text)
    return text.strip().splitlines()[0].rstrip(".") if isinstance(error, DEATHS) else None


def _actor(text: str) -> str:
    """The death of an actor, from Ray's text on it."""
    name = _field("class_name", text)
    role = next((role for start, role in ROLES.items() if name and name.startswith(start)), None)
    who = role or (f"actor {name}" if name else "an actor")
    address, pid = _field("ip", text), _field("pid", text)
    where = f" (process {pid} on {address})" if address and pid else ""
    return f"{who} died{where}: {_reason(text)}"


def _field(name: str, text: str) -> str | None:
    found = re.search(rf"^\s*{name}: (.+)$", text, re.MULTILINE)
    return found[1].strip() if found else None


def _reason(text: str) -> str:
    for pattern, reason in REASONS:
        if re.search(pattern, text):
            return reason
    lines = [line for line in text.splitlines() if line and not line.startswith("\t")]
    return lines[-1].rstrip(".")
