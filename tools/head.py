"""The local Ray head of this checkout: python -m tools.head start|stop|status|idle.

All its ports are on 127.0.0.1, those of training jobs' workers as well. Ray's own ports that can start
something ask for the token; those that only show metrics do not, nor do torch's, by which workers meet:
docs/cluster.md lists them. Everything it writes is in .longspan/ray. The ports it got are in
.longspan/ray/head.env, which env.sh reads.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from tools import processes
from tools.places import SOCKET_PATH_LIMIT, Trouble, choose_port, private_folder, short_path

ROOT = Path(__file__).resolve().parents[1]
STATE = ROOT / ".longspan" / "ray"
LOG = ROOT / ".longspan" / "logs" / "head.log"
# The longest path below Ray's folder, with a pid of seven digits.
LONGEST_SOCKET = "/session_2026-01-01_00-00-00_000000_1234567/sockets/dash_TaskEventsHead"
KEPT_SESSIONS = 3


@dataclass(frozen=True)
class Head:
    """Where a head listens: ports of 127.0.0.1."""

    ray: int
    dashboard: int
    metrics: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.dashboard}"

    def variables(self) -> dict[str, str]:
        return {
            "RAY_ADDRESS": f"127.0.0.1:{self.ray}",
            "RAY_API_SERVER_ADDRESS": self.url,  # for `ray job`
            "RAY_DASHBOARD_ADDRESS": self.url,  # for `serve`
            "LONGSPAN_METRICS": f"http://127.0.0.1:{self.metrics}/metrics",
            # Without it Ray takes 127.0.0.1 for this machine's own address and listens there.
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        }


def recorded() -> Head | None:
    """The head that was started last, if its record is there; it may be gone."""
    try:
        lines = (STATE / "head.env").read_text().splitlines()
        values = dict(line.removeprefix("export ").split("=", 1) for line in lines if line)
        ports = [
            int(values[name].removesuffix("/metrics").rpartition(":")[2])
            for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "LONGSPAN_METRICS")
        ]
    except (OSError, KeyError, ValueError):
        return None
    return Head(*ports)


def ask(head: Head, path: str) -> object | None:
    """What the dashboard answers to our token; None where nothing of ours answers."""
    token = (STATE / "token").read_text().strip()
    request = urllib.request.Request(head.url + path, headers={"Authorization": f"Bearer {token}"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=5) as answer:
            return json.load(answer)
    except (OSError, ValueError):
        return None


def is_healthy(head: Head) -> bool:
    """Whether this very checkout's head answers."""
    version = ask(head, "/api/version")
    if not isinstance(version, dict):
        return False
    session = version.get("session_name")
    return bool(session) and (STATE / "t" / str(session)).is_dir()


def start() -> None:
    """Starts the head, or keeps the one that runs."""
    head = recorded()
    if head and is_healthy(head):
        print(f"head: running already, dashboard at {head.url}")
        return
    if processes.marked(ROOT, "ray"):
        print("head: the one that is there does not answer; ending it")
        processes.end(ROOT, "ray")
    private_folder(STATE)
    STATE.chmod(0o700)  # Ray opens the folder inside to everybody
    (STATE / "head.env").unlink(missing_ok=True)
    _forget_old_sessions()
    taken: set[int] = set()
    head = Head(
        choose_port(6379, "RAY_PORT", taken),
        choose_port(8265, "DASHBOARD_PORT", taken),
        choose_port(8266, "METRICS_PORT", taken),
    )
    _launch(head, taken)
    _wait(head)
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in head.variables().items()]
    record = STATE / "head.env.new"
    record.write_text("".join(lines))
    record.rename(STATE / "head.env")
    print(f"head: started, dashboard at {head.url} (its token: cat .longspan/ray/token)")


def _forget_old_sessions() -> None:
    sessions = sorted(path for path in (STATE / "t").glob("session_2*") if path.is_dir())
    for old in sessions[:-KEPT_SESSIONS]:
        shutil.rmtree(old, ignore_errors=True)


def _launch(head: Head, taken: set[int]) -> None:
    folder = short_path(STATE / "t", SOCKET_PATH_LIMIT - len(LONGEST_SOCKET))
    if folder != STATE / "t":
        print(f"head: this checkout's path is too long for sockets; Ray reaches it by {folder}")
    command = [
        str(Path(sys.executable).parent / "ray"),
        "start",
        "--head",
        "--disable-usage-stats",
        "--node-ip-address=127.0.0.1",
        f"--port={head.ray}",
        "--include-dashboard=true",
        "--dashboard-host=127.0.0.1",
        f"--dashboard-port={head.dashboard}",
        f"--dashboard-agent-listen-port={choose_port(52365, 'AGENT_PORT', taken)}",
        f"--ray-client-server-port={choose_port(10001, 'CLIENT_PORT', taken)}",
        f"--metrics-export-port={head.metrics}",
        "--min-worker-port=0",  # any free ones, rather than 10002 to 19999
        "--max-worker-port=0",
        f"--temp-dir={folder}",
        *shlex.split(os.environ.get("HEAD_ARGS", "")),
    ]
    name, value = processes.mark(ROOT, "ray")
    environment = {
        **os.environ,
        **head.variables(),
        "DASHBOARD_METRIC_PORT": str(choose_port(44227, "DASHBOARD_METRIC_PORT", taken)),
        "AUTOSCALER_METRIC_PORT": str(choose_port(44217, "AUTOSCALER_METRIC_PORT", taken)),
        name: value,
    }
    for variable in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_DASHBOARD_ADDRESS"):
        del environment[variable]
    private_folder(LOG.parent)
    with LOG.open("w") as log:
        # Jobs without --working-dir run in the folder, and with the environment, of this command.
        done = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode:
        raise Trouble(f"ray start failed; see {LOG}. Its end:\n{_tail()}")


def _wait(head: Head, patience: float = 90.0) -> None:
    deadline = time.monotonic() + patience
    while not is_healthy(head):
        if time.monotonic() > deadline:
            processes.end(ROOT, "ray")
            raise Trouble(
                f"the dashboard did not answer within {patience:.0f} s; see {LOG} and"
                f" {STATE}/t/session_latest/logs/dashboard.log"
            )
        time.sleep(0.3)


def _tail(lines: int = 5) -> str:
    return "\n".join(LOG.read_text(errors="replace").splitlines()[-lines:])


def stop() -> None:
    """Ends our head and all that runs on it."""
    ended = processes.end(ROOT, "ray")
    (STATE / "head.env").unlink(missing_ok=True)
    link = short_path(STATE / "t", SOCKET_PATH_LIMIT - len(LONGEST_SOCKET))
    if link.is_symlink():
        link.unlink()
    print(f"head: stopped ({ended} processes)" if ended else "head: none of ours was running")


def status() -> None:
    """Says where the head is."""
    head = recorded()
    if head is None or not is_healthy(head):
        raise Trouble("no head of this checkout is running: make head")
    for name, value in head.variables().items():
        print(f"{name}={value}")


def idle(entrypoint: str) -> None:
    """Passes when no job with this entry point is at work on our head."""
    head = recorded()
    jobs = ask(head, "/api/jobs/") if head else None
    for job in jobs if isinstance(jobs, list) else []:
        if job.get("entrypoint") == entrypoint and job.get("status") in ("PENDING", "RUNNING"):
            name = job.get("submission_id")
            raise Trouble(
                f"the job {name} does this already. To watch it, or to stop it:\n"
                f"  . ./env.sh && ray job logs --follow {name}\n"
                f"  . ./env.sh && ray job stop {name}"
            )


def main(arguments: list[str]) -> int:
    """Runs one command; 1 and a message where it could not be done."""
    commands = {"start": start, "stop": stop, "status": status, "idle": idle}
    if arguments in (["--help"], ["-h"]):
        print(__doc__)
        return 0
    if not arguments or arguments[0] not in commands:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        commands[arguments[0]](*arguments[1:])
    except Trouble as trouble:
        step = "quickstart" if arguments[0] == "idle" else "head"
        print(f'\nFAILED in step "{step}": {trouble}', file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
