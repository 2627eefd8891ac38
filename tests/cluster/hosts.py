"""Several hosts on one machine: network namespaces with addresses of their own, and an sshd in each.

What runs on a host sees no process of another; its name, /tmp/ray, root's home and its entry in /etc/passwd
are its own. All hang on a bridge in the namespace of one more host, the desk, at which a person types commands.
Nothing of it is seen from outside.
"""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from tests.nodes import until

NETWORK = "10.213.0"
SSHD = "/usr/sbin/sshd"
NEEDED = ("ip", "unshare", "nsenter", "ssh", "ssh-keygen", "rsync", SSHD)
START = """
set -e
mount --make-rprivate /
mkdir -p {folder}/home {folder}/ray /tmp/ray /run/sshd
sed 's#^\\(root:.*\\):[^:]*:#\\1:{folder}/home:#' /etc/passwd > {folder}/passwd
mount --bind {folder}/passwd /etc/passwd
hostname {name}
printf '127.0.0.1 localhost\n{address} {name}\n' > {folder}/hosts
mount --bind {folder}/hosts /etc/hosts
mount --bind {folder}/ray /tmp/ray
ip link set lo up
exec {service}
"""
CONFIG = """
ListenAddress {address}
HostKey {key}
AuthorizedKeysFile {key}.pub
PidFile none
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
"""


class Host:
    """One of them."""

    def __init__(self, folder: Path, number: int, environment: Mapping[str, str]) -> None:
        """Its network, with nothing on it.

        Args:
            folder: where it keeps what is its own; made here.
            number: the last of its address.
            environment: what its users' shells have.
        """
        self.address, self.home = f"{NETWORK}.{number}", folder / "home"
        self.name = f"{folder.parent.name}-{number}"
        self._folder = folder
        self._environment = dict(environment) | {"HOME": str(self.home)}
        self._process: subprocess.Popen[bytes] | None = None
        self.home.mkdir(parents=True)
        exports = "".join(f"export {name}='{value}'\n" for name, value in environment.items())
        (self.home / ".bashrc").write_text(exports)
        _ip("netns", "add", self.name)

    def start(self, service: str) -> None:
        """Start what keeps it alive."""
        script = START.format(
            folder=self._folder, name=self.name, address=self.address, service=service
        )
        command = [
            "ip",
            "netns",
            "exec",
            self.name,
            "unshare",
            "--mount",
            "--uts",
            "--pid",
            "--fork",
        ]
        command += ["--kill-child", "--mount-proc", "sh", "-c", script]
        with (self._folder / "log").open("w") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        until(lambda: self._first() and self.run("true").returncode == 0, seconds=20)

    def run(self, *typed: str, seconds: float = 300) -> "subprocess.CompletedProcess[str]":
        """A command that is typed on it, to its end."""
        return subprocess.run(
            self._inside(typed),
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=seconds,
        )

    def popen(self, *typed: str) -> "subprocess.Popen[str]":
        """A command that is typed on it, as it runs."""
        return subprocess.Popen(
            self._inside(typed),
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def processes(self) -> list[psutil.Process]:
        """All that run on it."""
        first = self._first()
        return [first, *first.children(recursive=True)] if first else []

    def close(self) -> None:
        """End all of it."""
        if first := self._first():
            first.send_signal(signal.SIGKILL)  # All others end with it: it is their first process.
        if self._process:
            self._process.wait(timeout=30)
        _ip("netns", "del", self.name)

    def _first(self) -> psutil.Process | None:
        if self._process is None:
            return None
        try:
            return next(iter(psutil.Process(self._process.pid).children()), None)
        except psutil.NoSuchProcess:
            return None

    def _inside(self, typed: tuple[str, ...]) -> list[str]:
        first = self._first()
        assert first is not None, (self._folder / "log").read_text()
        return [
            "nsenter",
            f"--target={first.pid}",
            "--mount",
            "--uts",
            "--net",
            "--pid",
            "--",
            *typed,
        ]


class Hosts:
    """A desk and some hosts that it reaches with its key, without a password."""

    def __init__(self, folder: Path, number: int, environment: Mapping[str, str]) -> None:
        self.key = folder / "key"
        self._folder, self._environment = folder, environment
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key)]
        subprocess.run(command, check=True)
        self._stack = ExitStack()
        try:
            self.desk, self.hosts = self._make(number)
        except BaseException:
            self.close()
            raise

    def _make(self, number: int) -> tuple[Host, list[Host]]:
        desk = self.desk = self._add(1)
        _ip("-n", self.desk.name, "link", "add", "bridge", "type", "bridge")
        _ip("-n", self.desk.name, "address", "add", f"{self.desk.address}/24", "dev", "bridge")
        _ip("-n", self.desk.name, "link", "set", "bridge", "up")
        desk.start("sleep infinity")
        return desk, [self._host(place) for place in range(2, 2 + number)]

    @contextmanager
    def cut_off(self, host: Host) -> Iterator[None]:
        """Nothing reaches a host, and nothing comes from it, as long as the context lasts."""
        _ip("-n", self.desk.name, "link", "set", _port(host), "down")
        try:
            yield
        finally:
            _ip("-n", self.desk.name, "link", "set", _port(host), "up")

    def close(self) -> None:
        """End them."""
        self._stack.close()

    def _add(self, place: int) -> Host:
        host = Host(self._folder / str(place), place, self._environment)
        self._stack.callback(host.close)
        return host

    def _host(self, place: int) -> Host:
        host, desk = self._add(place), self.desk.name
        _ip(
            "link",
            "add",
            _port(host),
            "netns",
            desk,
            "type",
            "veth",
            "peer",
            "eth0",
            "netns",
            host.name,
        )
        _ip("-n", desk, "link", "set", _port(host), "master", "bridge", "up")
        _ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", "eth0")
        _ip("-n", host.name, "link", "set", "eth0", "up")
        # Ray finds a host's own address by the way to the world outside, which leads nowhere.
        _ip("-n", host.name, "route", "add", "default", "via", self.desk.address)
        config = self._folder / f"{place}/sshd_config"
        config.write_text(CONFIG.format(address=host.address, key=self.key))
        host.start(f"{SSHD} -D -e -f {config}")
        return host


@contextmanager
def hosts(number: int, environment: Mapping[str, str]) -> Iterator[Hosts]:
    """So many hosts and a desk, as long as the context lasts; skips where there can be none."""
    if missing := [name for name in NEEDED if shutil.which(name) is None]:
        pytest.skip(f"hosts are made with {', '.join(missing)}, which are not there")
    if os.geteuid() != 0:
        pytest.skip("only root makes network namespaces")
    try:
        with _network("lh-probe"):
            for kind in ("bridge", "veth"):
                _ip("-n", "lh-probe", "link", "add", "type", kind)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no virtual networks here: {' '.join(error.cmd)}: {error.stderr.strip()}")
    folder = Path(tempfile.mkdtemp(prefix="lh", dir="/tmp"))
    found = Hosts(folder, number, environment)
    try:
        yield found
    finally:
        found.close()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _network(name: str) -> Iterator[None]:
    _ip("netns", "add", name)
    try:
        yield
    finally:
        _ip("netns", "del", name)


def _port(host: Host) -> str:
    """The desk's end of a host's cable."""
    return f"port{host.address.rpartition('.')[2]}"


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
