"""`ray up`, `ray exec`, `ray job submit` and `ray down` on several hosts, one of which is cut off for a while."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.chaos.run import Job
from tests.cluster.hosts import Host, Hosts, hosts
from tests.jobs.project import ROOT, Project
from tests.nodes import slowed, train_workers, until
from tests.tiny import make_tiny_model

pytestmark = [pytest.mark.real, pytest.mark.hosts, pytest.mark.timeout(900)]

UPDATES = 300
LONG = (f"training.tokens={512 * UPDATES}", "training.checkpoint_every=20", "heldout.every=300")
HERE = "cd ~/longspan && . ./env.sh &&"
"""What a command begins with that is typed on a host."""


@pytest.fixture(scope="module")
def network() -> Iterator[Hosts]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    # As docs/cluster.md says: the newer autoscaler takes the head for one of the workers.
    with hosts(3, kept | {"RAY_UP_enable_autoscaler_v2": "0"}) as found:
        yield found


@pytest.fixture(scope="module")
def config(network: Hosts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """cluster/local.yaml for these hosts, which have the project and its environment already."""
    value: dict[str, Any] = yaml.safe_load((ROOT / "cluster" / "local.yaml").read_text())
    head, *workers = network.hosts
    value["provider"] |= {
        "head_ip": head.address,
        "worker_ips": [worker.address for worker in workers],
    }
    value["auth"] = {"ssh_user": "root", "ssh_private_key": str(network.key)}
    value |= {"file_mounts": {}, "head_setup_commands": [], "worker_setup_commands": []}
    # Each host sees all of this machine's.
    value["worker_start_ray_commands"][-1] += " --num-cpus=1"
    for host in network.hosts:
        (host.home / "longspan").symlink_to(ROOT)
    path = tmp_path_factory.mktemp("config") / "local.yaml"
    path.write_text(yaml.safe_dump(value))
    return path


@pytest.fixture(scope="module")
def up(network: Hosts, config: Path) -> Iterator[Path]:
    """The config of a cluster whose hosts are all there."""
    done = network.desk.run("ray", "up", "--yes", "--no-config-cache", str(config))
    assert done.returncode == 0, done.stdout + done.stderr
    command = ("ray", "exec", str(config), f"{HERE} ray status -v")
    until(lambda: network.desk.run(*command).stdout.count("\nNode: ") == len(network.hosts))
    yield config
    done = network.desk.run("ray", "down", "--yes", str(config))
    assert done.returncode == 0, done.stdout + done.stderr
    # Workers' own Ray ends once it has looked for its head for a minute.
    until(lambda: not any("raylet" in names_on(host) for host in network.hosts))


def workers_on(network: Hosts) -> list[psutil.Process]:
    return train_workers([process for host in network.hosts for process in host.processes()])


def names_on(host: Host) -> list[str]:
    return [process.name() for process in host.processes()]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("project")
    return Project(folder, make_tiny_model(folder / "base", tied=False), dashboard="")


def test_a_host_that_is_cut_off_is_done_without_and_taken_in_again(
    network: Hosts, up: Path, project: Project
) -> None:
    wanted = ("'workers={min: 1, max: 2}'", "workers.grow_after_s=0", "workers.hang_timeout_s=10")
    job = ["ray job submit --address http://127.0.0.1:8265 -- python jobs/pretrain.py"]
    typed = " ".join([HERE, *job, str(project.recipe), *LONG, *wanted])
    run = Job(network.desk.popen("ray", "exec", str(up), typed))
    run.said(r"started at update 0, workers 2")
    run.said(r"checkpoint at update 20")
    with network.cut_off(network.hosts[-1]):
        run.said(r"failed: worker \d: ")
        run.said(r"resumed at update \d+, workers 1")
    with slowed(lambda: workers_on(network)):  # It would end before the host is back.
        run.said(
            r"rescale_requested at update \d+, reason there is room for 2 workers", seconds=300
        )
    run.said(r"resumed at update \d+, workers 2", seconds=200)
    run.ended()
    finding = project.history("tiny")
    assert finding.faults == ()
    assert (finding.updates, finding.starts) == (UPDATES, (2, 1, 2))
