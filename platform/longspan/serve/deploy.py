"""Deploying a version of the service, waiting for it, and saying what happens meanwhile."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import ray
import yaml
from ray import serve
from ray.dashboard.modules.serve.sdk import ServeSubmissionClient

from longspan.errors import UserError
from longspan.recipe.sources import open_store
from longspan.serve.config import ServeConfig, of_data
from longspan.serve.versions import Versions

POLL_SECONDS = 1.0
Say = Callable[[str], None]


@contextmanager
def connected() -> Iterator[str]:
    """Connect to the cluster that runs; yields its dashboard's address.

    Raises:
        UserError: none runs.
    """
    try:
        context = ray.init(address="auto", logging_level="ERROR", log_to_driver=False)
    except ConnectionError:
        raise UserError("no Ray cluster runs here: `make head`, or set RAY_ADDRESS") from None
    try:
        yield f"http://{context.dashboard_url}"
    finally:
        ray.shutdown()


def deploy(
    config: ServeConfig, dashboard: str, restores: int | None = None, say: Say = print
) -> None:
    """Give a config to Ray Serve, wait until all of it serves, and keep a record of it.

    Args:
        config: what is to be served.
        dashboard: the cluster's address.
        restores: the version that this goes back to.
        say: takes lines on how far it is.

    Raises:
        UserError: Serve refuses it, or it does not start; what served before goes on serving.
    """
    _require_same_door(config, dashboard)
    versions = Versions(open_store(config.settings))
    good = versions.newest_served()
    version = versions.begin(config.data, restores)
    before = _deployed_at(config.name)
    _submit(config, dashboard)
    say(f"version {version.number}: {version.model}")
    try:
        _wait(config.name, before, say)
    except UserError:
        versions.end(version, "failed")
        if good:
            # Else Serve would go on trying for the one that failed, and replace no replica that dies.
            _submit(of_data(good.config), dashboard)
        raise
    versions.end(version, "served")
    say(f"version {version.number} serves at {config.address}")


def _require_same_door(config: ServeConfig, dashboard: str) -> None:
    """Serve would keep the address that it has, and try a port that another program has for minutes, without a word."""
    http = config.data.get("http_options", {})
    host, port = http.get("host", "127.0.0.1"), http.get("port", 8000)
    if serve.status().proxies:
        running = ServeSubmissionClient(dashboard).get_serve_details()["http_options"]
        if (running["host"], running["port"]) != (host, port):
            raise UserError(
                f"http_options: the Serve of this cluster listens on {running['host']}:{running['port']} "
                f"while it runs, not on {host}:{port}; go on with that (--port {running['port']}), or "
                "end it first: serve shutdown"
            )
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UserError(
                f"http_options.port: {host}:{port} can't be listened on ({error.strerror}); "
                "choose another one: --port 8001"
            ) from None


def _submit(config: ServeConfig, dashboard: str) -> None:
    """`serve deploy`."""
    program = Path(sys.executable).parent / "serve"
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(config.data, file)
        file.flush()
        command = [str(program), "deploy", file.name, "--address", dashboard]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"serve deploy failed: {(done.stderr or done.stdout).strip()[-2000:]}")


def _wait(name: str, before: float | None, say: Say) -> None:
    """Follow an application until the version deployed last serves."""
    said = ""
    while True:
        time.sleep(POLL_SECONDS)
        found = serve.status().applications.get(name)
        if found is None or _deployed_at(name) == before:
            continue
        if found.status == "RUNNING":
            return
        if found.status in ("DEPLOY_FAILED", "UNHEALTHY"):
            raise UserError(_reason(found))
        states = [each.replica_states for each in found.deployments.values()]
        parts = [f"{count} {state.lower()}" for each in states for state, count in each.items()]
        line = f"{found.status.lower()}: {', '.join(parts) or 'building'}"
        if line != said:
            say(line)
            said = line


def _deployed_at(name: str) -> float | None:
    found = serve.status().applications.get(name)
    return found.last_deployed_time_s if found else None


def _reason(application: object) -> str:
    """The user's mistake in what Serve says of an application that failed, or all that it says."""
    said = [application.message]  # type: ignore[attr-defined]
    said += [each.message for each in application.deployments.values()]  # type: ignore[attr-defined]
    text = "\n".join(each for each in said if each)
    mistakes = re.findall(r"errors\.UserError: (.+)", text)
    return mistakes[-1] if mistakes else f"the service did not start:\n{text}"
