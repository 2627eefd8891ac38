"""A real Prometheus that reads a Ray cluster, as cluster/prometheus.yml has it."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.nodes import until
from tests.ports import free_ports

ROOT = Path(__file__).parents[2]
DISCOVERY = "prom_metrics_service_discovery.json"


class Prometheus:
    """One that runs, at a URL."""

    def __init__(self, url: str) -> None:
        self.url, self._began = url, time.time()

    def ask(self, expression: str) -> list[dict[str, Any]]:
        """The series that an expression has given since this runs: a panel shows a time, not a moment.

        One that never was a number, nothing divided by nothing, is none.
        """
        asked = {"query": expression, "start": self._began, "end": time.time(), "step": 1}
        reply = httpx.get(f"{self.url}/api/v1/query_range", params=asked, timeout=30)
        assert reply.status_code == 200, (expression, reply.text)
        found = reply.json()["data"]["result"]
        return [each for each in found if any(value != "NaN" for _, value in each["values"])]


@contextmanager
def prometheus(folder: Path, ray_folder: Path) -> Iterator[Prometheus]:
    """Prometheus with our configuration, for a Ray whose temporary folder is another one than /tmp/ray."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("no Prometheus on PATH; on Debian it is the package prometheus")
    text = (ROOT / "cluster" / "prometheus.yml").read_text()
    assert f"/tmp/ray/session_latest/{DISCOVERY}" in text
    # The other place is the checkout's own head, which is not asked here.
    config = yaml.safe_load(text.replace("/tmp/ray", str(ray_folder)))
    config["global"]["scrape_interval"] = "2s"
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    (port,) = free_ports(1)
    command = [program, f"--config.file={path}", f"--storage.tsdb.path={folder / 'data'}"]
    command += [f"--web.listen-address=127.0.0.1:{port}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        found = Prometheus(f"http://127.0.0.1:{port}")
        until(lambda: _ready(found.url))
        yield found
    finally:
        process.terminate()
        process.wait(timeout=30)


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready", timeout=5).status_code == 200
    except httpx.TransportError:
        return False
