"""A head that is gone is reported in seconds."""

import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from longspan.errors import UserError
from longspan.runtime import head_address, session
from longspan.serve import deploy
from tests.ports import free_ports

CONNECT: list[Callable[[], AbstractContextManager[Any]]] = [session.connected, deploy.connected]


@pytest.mark.parametrize("connected", CONNECT)
def test_an_address_where_nothing_answers_is_reported_soon(
    connected: Callable[[], AbstractContextManager[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{free_ports(1)[0]}")
    began = time.monotonic()
    with (
        pytest.raises(UserError, match=r"RAY_ADDRESS: no Ray head answers at 127\.0\.0\.1:\d+ "),
        connected(),
    ):
        pass
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("address", ["", "auto", "local", "ray://127.0.0.1:1"])
def test_what_ray_resolves_itself_is_left_to_it(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    head_address.require_head()


def test_a_listening_port_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{server.getsockname()[1]}")
        head_address.require_head()


def test_a_head_that_is_just_starting_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    servers = []
    monkeypatch.setattr(
        time, "sleep", lambda seconds: servers.append(socket.create_server(("127.0.0.1", port)))
    )
    head_address.require_head()
    servers[0].close()
