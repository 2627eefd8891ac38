"""The watcher of spot notices, before a stand-in of the instance's metadata service."""

import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from cluster.spot_watcher import Metadata, watch
from tests.cluster.instance import Instance, serving


@pytest.fixture
def instance() -> Iterator[Instance]:
    with serving() as server:
        yield server


def test_a_notice_is_seen_when_it_comes(instance: Instance) -> None:
    metadata = Metadata(instance.address)
    assert metadata.interruption() is None
    at = datetime.now(UTC) + timedelta(seconds=120)
    instance.notice = {"action": "terminate", "time": at.strftime("%Y-%m-%dT%H:%M:%SZ")}
    found = metadata.interruption()
    assert found is not None
    assert found.action == "terminate"
    assert 115 <= found.seconds_left() <= 120
    # A token that has expired is replaced.
    instance.tokens = ["another"]
    assert metadata.interruption() == found


def test_a_service_that_refuses_or_is_not_there_is_an_error_to_ask_again_after(
    instance: Instance,
) -> None:
    instance.server_close()
    instance.shutdown()
    with pytest.raises(OSError, match="refused"):
        Metadata(instance.address).interruption()


def test_it_ends_with_the_process_that_it_is_there_for(instance: Instance) -> None:
    raylet = subprocess.Popen(["sleep", "60"])
    watcher = threading.Thread(
        target=watch, args=(Metadata(instance.address), None, 0.02, raylet.pid), daemon=True
    )
    watcher.start()
    watcher.join(0.2)
    assert watcher.is_alive()
    raylet.kill()
    raylet.wait()
    watcher.join(5)
    assert not watcher.is_alive()
