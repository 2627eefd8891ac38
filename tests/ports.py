"""Ports for the servers that tests start."""

import socket
from contextlib import ExitStack


def free_ports(number: int) -> list[int]:
    """Ports that nothing listens on; all are held until all are found."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
