"""One chat service for all tests of the session: Ray Serve, vLLM's CPU engine, a tiny model."""

from collections.abc import Iterator

import pytest

from tests.ports import free_ports
from tests.serve.service import WINDOW, Service
from tests.tiny import make_tiny_model


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory, ray_session: str) -> Iterator[Service]:
    """The service, deployed; its models are all in its folder."""
    from ray import serve

    folder = tmp_path_factory.mktemp("serve")
    for number in (1, 2):
        make_tiny_model(folder / f"model-{number}", window=WINDOW, tied=False, seed=number)
    service = Service(folder, free_ports(1)[0])
    status, output = service.command("deploy")
    assert status == 0, output
    yield service
    serve.shutdown()
