"""Tell Ray when the cloud is about to take this machine away: one such process on every spot node.

    python cluster/spot_watcher.py &        on a worker node, after `ray start`; cluster/aws.yaml does it by itself

EC2 says two minutes ahead that it will take a spot instance back, to whoever asks the instance's
metadata service (IMDSv2). Ray does not ask on clusters made by `ray up`. This asks every few
seconds, and drains the node: training then takes a checkpoint and leaves it in time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

METADATA = "http://169.254.169.254"
TOKEN_SECONDS = 21600
TIMEOUT_SECONDS = 2.0
LEAST_SECONDS = 1


@dataclass(frozen=True)
class Interruption:
    """What the cloud will do with this instance.

    Attributes:
        action: terminate, stop or hibernate.
        at: when.
    """

    action: str
    at: datetime

    def seconds_left(self) -> int:
        """Until then, and at least 1."""
        return max(LEAST_SECONDS, int((self.at - datetime.now(UTC)).total_seconds()))


class Metadata:
    """The instance's metadata service, by its second version, which wants a token."""

    def __init__(self, address: str = METADATA) -> None:
        """Nothing is asked yet."""
        self._address = address
        self._token: str | None = None

    def interruption(self) -> Interruption | None:
        """The notice that is given, if any.

        Raises:
            OSError: the service does not answer.
        """
        answer = self._get("/latest/meta-data/spot/instance-action")
        if answer is None:
            return None
        notice = json.loads(answer)
        return Interruption(notice["action"], datetime.fromisoformat(notice["time"]))

    def _get(self, path: str) -> str | None:
        for _ in range(2):
            self._token = self._token or self._new_token()
            request = urllib.request.Request(self._address + path)
            request.add_header("X-aws-ec2-metadata-token", self._token)
            try:
                with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as reply:
                    return reply.read().decode()
            except urllib.error.HTTPError as error:
                if error.code == 404:  # As long as there is no notice.
                    return None
                if error.code != 401:
                    raise
                self._token = None  # It has expired.
        raise OSError(f"{self._address} refuses the tokens that it gives")

    def _new_token(self) -> str:
        request = urllib.request.Request(f"{self._address}/latest/api/token", method="PUT")
        request.add_header("X-aws-ec2-metadata-token-ttl-seconds", str(TOKEN_SECONDS))
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as reply:
            return reply.read().decode()


def drain(node: str | None, interruption: Interruption) -> None:
    """Tell Ray, which lets nothing new start on the node, and tells what runs there."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "drain-node"]
    command += [f"--node-id={node or this_node()}", "--reason=DRAIN_NODE_REASON_PREEMPTION"]
    command += [f"--reason-message=spot: {interruption.action} at {interruption.at:%H:%M:%S} UTC"]
    command += [f"--deadline-remaining-seconds={interruption.seconds_left()}"]
    subprocess.run(command, check=True)


def this_node() -> str:
    """Ray's name for the node of this machine."""
    import ray

    ray.init(address="auto", log_to_driver=False, logging_level="ERROR")
    try:
        return ray.get_runtime_context().get_node_id()
    finally:
        ray.shutdown()


def watch(
    metadata: Metadata, node: str | None, seconds: float, companion: int | None = None
) -> Interruption | None:
    """Return once there was a notice and Ray knows of it, or once the process `companion` has ended."""
    while companion is None or Path(f"/proc/{companion}").exists():
        try:
            found = metadata.interruption()
        except (OSError, ValueError, KeyError) as error:
            print(f"spot watcher: {error}; asking again", file=sys.stderr, flush=True)
            found = None
        if found:
            print(
                f"spot watcher: {found.action} in {found.seconds_left()} s: draining this node",
                flush=True,
            )
            try:
                drain(node, found)
            except (OSError, subprocess.CalledProcessError) as error:
                print(f"spot watcher: {error}; trying again", file=sys.stderr, flush=True)
            else:
                return found
        time.sleep(seconds)
    return None


def main(arguments: list[str]) -> int:
    """Watch until the notice comes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--metadata", default=METADATA, help="address of the metadata service")
    parser.add_argument("--node-id", help="Ray's id of the node; by default this machine's")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between questions")
    parser.add_argument(
        "--while", dest="companion", type=int, metavar="PID", help="end when that process has"
    )
    chosen = parser.parse_args(arguments)
    watch(Metadata(chosen.metadata), chosen.node_id, chosen.every, chosen.companion)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
