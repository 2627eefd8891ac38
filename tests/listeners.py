"""Who listens where, and what docs/cluster.md says about it."""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

DOCS = Path(__file__).parents[1] / "docs" / "cluster.md"
EVERYWHERE = ("0.0.0.0", "::")
NAMES = {
    "gcs_server": r"/gcs_server ",
    "raylet": r"/raylet/raylet ",
    "client server": r"ray\.util\.client\.server",
    "dashboard": r"/dashboard/dashboard\.py",
    "monitor": r"/monitor\.py",
    "driver": r"python\S* (-u )?jobs/",
    "dashboard agent": r"^ray::DashboardAgent",
    "runtime env agent": r"^ray::RuntimeEnvAgent",
    "training worker": r"^ray::RayTrainWorker",
    "other worker": r"^ray::",
}


@dataclass(frozen=True)
class Listeners:
    """Ports of one process.

    Attributes:
        name: of the process, as the documentation has it; else its command.
        addresses: on which a port listens, for each port.
    """

    name: str
    addresses: tuple[str, ...]

    @property
    def num_open(self) -> int:
        """Ports on all addresses of the machine."""
        return sum(address in EVERYWHERE for address in self.addresses)


def listeners(processes: Iterable[psutil.Process]) -> Iterator[Listeners]:
    """Of each process that listens."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            addresses = tuple(
                connection.laddr.ip
                for connection in process.net_connections(kind="inet")
                if connection.status == psutil.CONN_LISTEN
                or (connection.type.name == "SOCK_DGRAM" and not connection.raddr)
            )
            if addresses:
                command = " ".join(process.cmdline())
                names = (name for name, known in NAMES.items() if re.search(known, command))
                yield Listeners(next(names, command), addresses)


def documented() -> dict[str, int]:
    """How many ports on all addresses docs/cluster.md grants to each process of a cluster."""
    rows = re.findall(r"^\| ([a-z_ ]+?) +\| +(\d+) \|", DOCS.read_text(), re.MULTILINE)
    return {name: int(number) for name, number in rows}
