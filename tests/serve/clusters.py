"""Stand-ins for the cluster that commands of the chat service connect to."""

from collections.abc import Iterator
from contextlib import contextmanager

from longspan.errors import UserError


@contextmanager
def no_cluster() -> Iterator[str]:
    """None runs: tests must not find another one on this machine."""
    raise UserError("no Ray cluster runs here")
    yield ""
