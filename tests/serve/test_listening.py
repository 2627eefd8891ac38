"""What listens where while the service is up; docs/serving.md says the same."""

import ipaddress
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
import ray

from tests.serve.service import Service

OF_ALL = {"ServeReplica:chat:ChatServer": 2, "ProxyActor": 1, "ServeController": 1}
"""Sockets that each of these processes listens with on all interfaces: Ray's, and a replica's for other replicas."""
OF_LOOPBACK = ("VLLM::EngineCore", "VLLM::Worker")


@pytest.mark.real
@pytest.mark.timeout(600)
def test_only_ray_s_own_sockets_listen_beyond_loopback(deployed: Service) -> None:
    """Ray's ask for its token; the service's own, and those of the engine, no other machine reaches."""
    proxy = urlsplit(deployed.url)
    open_to_all: dict[str, list[int]] = {}
    served_at = []
    for process in psutil.Process().children(recursive=True):
        try:
            # While an actor runs a method, its process is called `ray::Class.method`.
            name = " ".join(process.cmdline()).strip().removeprefix("ray::").partition(".")[0]
            sockets = process.net_connections(kind="inet")
        except psutil.NoSuchProcess:
            continue
        listening = [each.laddr for each in sockets if each.status == psutil.CONN_LISTEN]
        served_at += [(name, at.ip) for at in listening if at.port == proxy.port]
        beyond = [at.port for at in listening if not ipaddress.ip_address(at.ip).is_loopback]
        if name in OF_ALL or name in OF_LOOPBACK:
            open_to_all.setdefault(name, []).append(len(beyond))
        assert 9000 not in [at.port for at in listening], "Serve's gRPC proxy is not asked for"
    assert served_at == [("ProxyActor", proxy.hostname)]
    for name, count in OF_ALL.items():
        assert set(open_to_all[name]) == {count}, open_to_all
    assert "VLLM::EngineCore" in open_to_all
    for name in OF_LOOPBACK:
        assert set(open_to_all.get(name, [0])) == {0}, open_to_all


def test_the_socket_of_a_replica_asks_for_ray_s_token() -> None:
    """It unpickles what arrives, before anything else; Ray 2.59 and earlier let anybody send."""
    source = (Path(ray.__file__).parent / "serve" / "_private" / "replica.py").read_text()
    assert "self._server = create_grpc_server_with_interceptors(" in source
    assert "grpc.aio.server(" not in source
