"""The address of the Ray head: one that does not answer is reported in seconds, where Ray itself waits for minutes."""

from __future__ import annotations

import os
import socket
import time

from longspan.errors import UserError

VARIABLE = "RAY_ADDRESS"
ATTEMPTS = 3
SECONDS_BETWEEN = 1.0
CONNECT_TIMEOUT_S = 3.0


def require_head() -> None:
    """Check that something listens where RAY_ADDRESS points.

    Raises:
        UserError: nothing does.
    """
    address = os.environ.get(VARIABLE, "").strip()
    host, colon, port = address.rpartition(":")
    # "auto", "local" and ray:// are Ray's to resolve.
    if not colon or "://" in address or not port.isdigit():
        return
    reason = _refusal(host.strip("[]"), int(port))
    for _ in range(ATTEMPTS - 1):
        if reason is None:
            return
        time.sleep(SECONDS_BETWEEN)
        reason = _refusal(host.strip("[]"), int(port))
    if reason is None:
        return
    raise UserError(
        f"{VARIABLE}: no Ray head answers at {address} ({reason}): it was stopped, or has another address now; start "
        f"one (`make head`) and run `. ./env.sh` again in this shell, or `unset {VARIABLE}`"
    )


def _refusal(host: str, port: int) -> str | None:
    """Why nothing can be connected to; None where something listens."""
    try:
        with socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S):
            return None
    except OSError as error:
        return error.strerror or str(error) or type(error).__name__
