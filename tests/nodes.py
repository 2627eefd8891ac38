"""A Ray cluster of several nodes on one machine, which a test may take apart."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psutil
from ray._raylet import GcsClient
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID
from ray.core.generated.gcs_pb2 import GcsNodeInfo

from tests.ports import free_ports

START_SECONDS = 120
# For how long Ray's processes look for a head that is gone; by default it is a minute.
PATIENCE = {"RAY_gcs_rpc_server_reconnect_timeout_s": "5"}

# What Ray's own tests set for an autoscaler whose nodes are all on one machine.
ON_ONE_MACHINE = {
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    "RAY_enable_autoscaler_v2": "1",
    "RAY_FAKE_CLUSTER": "1",
    "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
}


@dataclass
class Node:
    """A node and the process that holds it."""

    name: str
    id: str
    process: subprocess.Popen[bytes]

    def workers(self) -> list[psutil.Process]:
        """Ray Train's workers on it."""
        return train_workers(psutil.Process(self.process.pid).children(recursive=True))

    def kill_raylet(self) -> None:
        """End Ray's own part of it alone; the others have to find out."""
        below = psutil.Process(self.process.pid).children(recursive=True)
        (raylet,) = [process for process in below if process.name() == "raylet"]
        raylet.kill()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Its workers stand still, and their group with them, as long as the context lasts."""
        workers = self.workers()
        assert workers
        for worker in workers:
            worker.suspend()
        try:
            yield
        finally:
            for worker in workers:
                worker.resume()

    def kill(self) -> None:
        """End it and all that runs on it, as when the machine is gone."""
        end([self])


class Cluster:
    """A head without CPUs, and nodes of one CPU each."""

    def __init__(
        self,
        cloud: dict[str, Any] | None = None,
        *,
        dashboard: bool = False,
        python: str = sys.executable,
    ) -> None:
        """Start the head.

        Args:
            cloud: the config of Ray's autoscaler, whose machines are to be nodes on this one.
            dashboard: whether the dashboard runs, which lists actors and placement groups; it takes
                half of a head's start.
            python: interpreter of the nodes.
        """
        self.python = python
        # Short, for Ray's Unix sockets.
        self.folder = tempfile.mkdtemp(prefix="lc-", dir="/tmp")
        gcs, dashboard_port = free_ports(2)
        self.address, self.dashboard = f"127.0.0.1:{gcs}", f"http://127.0.0.1:{dashboard_port}"
        options = ["--head", f"--port={gcs}", f"--dashboard-port={dashboard_port}", "--num-cpus=0"]
        options += [f"--temp-dir={self.folder}"]
        if not dashboard:
            options.append("--include-dashboard=false")
        self.nodes: list[Node] = []
        if cloud is None:
            self.head = self._start("head", options)
            return
        cloud["provider"] |= {"gcs_address": self.address, "head_node_id": FAKE_HEAD_NODE_ID}
        config = Path(self.folder) / "cloud.json"
        config.write_text(json.dumps(cloud))
        self.head = self._start(
            "head", [*options, f"--autoscaling-config={config}"], ON_ONE_MACHINE
        )

    def add(self, name: str, options: Sequence[str] = (), **environment: str) -> Node:
        """One more node, with more options of `ray start`; what runs there has the environment as well."""
        options = [f"--address={self.address}", "--num-cpus=1", *options]
        node = self._start(name, options, environment)
        self.nodes.append(node)
        return node

    def drain(self, node: Node, seconds: int) -> None:
        """Tell Ray that a node will be taken away."""
        command = [sys.executable, "-m", "ray.scripts.scripts", "drain-node"]
        command += [f"--address={self.address}", f"--node-id={node.id}"]
        command += ["--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=spot"]
        command += [f"--deadline-remaining-seconds={seconds}"]
        subprocess.run(command, check=True, capture_output=True, timeout=60)

    def close(self) -> None:
        """End all of it."""
        end([node for node in [*self.nodes, self.head] if node.process.poll() is None])
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(
        self, name: str, options: list[str], environment: Mapping[str, str] = MappingProxyType({})
    ) -> Node:
        (agent,) = free_ports(1)
        command = [self.python, "-m", "ray.scripts.scripts", "start", "--block", *options]
        command += ["--node-ip-address=127.0.0.1", f"--dashboard-agent-listen-port={agent}"]
        command += [f'--resources={{"{name}": 1}}', "--disable-usage-stats"]
        quiet = subprocess.DEVNULL
        inherited = os.environ | PATIENCE | dict(environment)
        process = subprocess.Popen(command, stdout=quiet, stderr=quiet, env=inherited)
        return Node(name, until(lambda: self._id_of(name)), process)

    def _id_of(self, name: str) -> str | None:
        try:
            client = GcsClient(address=self.address)
            nodes = client.get_all_node_info(timeout=5)
        except Exception:  # The head is not up yet.
            return None
        for id, node in nodes.items():
            if node.state == GcsNodeInfo.ALIVE and name in node.resources_total:
                return id.hex()
        return None


@contextmanager
def slowed(find: Callable[[], Sequence[psutil.Process]]) -> Iterator[None]:
    """Let processes run a tenth of the time, so that a run is not over before something else has happened.

    Args:
        find: gives the processes, which may be others each time.
    """
    over = threading.Event()

    def alternate() -> None:
        while not over.is_set():
            stopped = find()
            _for_each(stopped, psutil.Process.suspend)
            over.wait(0.9)
            _for_each(stopped, psutil.Process.resume)
            over.wait(0.1)

    thread = threading.Thread(target=alternate, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _for_each(
    processes: Sequence[psutil.Process], action: Callable[[psutil.Process], None]
) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # It has ended meanwhile.
            action(process)


def end(nodes: Sequence[Node]) -> None:
    """Kill all that runs on some nodes, at once."""
    trees = [psutil.Process(node.process.pid) for node in nodes]
    gone = [process for tree in trees for process in [*tree.children(recursive=True), tree]]
    for process in gone:
        with suppress(psutil.NoSuchProcess):  # It has ended with another one.
            process.kill()
    psutil.wait_procs(gone, timeout=30)
    for node in nodes:
        node.process.wait()


def train_workers(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Ray Train's workers among some processes."""
    return [process for process in processes if "RayTrainWorker" in _name(process)]


def _name(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # It has ended meanwhile.
        return ""


def until(look: Callable[[], Any], seconds: float = START_SECONDS) -> Any:
    """What `look` gives as soon as it gives something."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "it has not come"
        time.sleep(0.1)
    return found


def environment(cluster: Cluster) -> dict[str, str]:
    """Of a driver on the cluster."""
    return os.environ | PATIENCE | {"RAY_ADDRESS": cluster.address}
