"""Deploying a version of the service, waiting for it, and saying what happens meanwhile."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import ray
import yaml
from ray import serve
from ray.dashboard.modules.serve.sdk import ServeSubmissionClient

from longspan.errors import UserError
from longspan.observe.units import duration
from longspan.recipe.sources import open_store
from longspan.serve.config import ServeConfig, environment, of_data, with_environment
from longspan.serve.versions import Versions

POLL_SECONDS = 1.0
REMIND_SECONDS = 60.0
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
    config: ServeConfig,
    dashboard: str,
    patience: float,
    restores: int | None = None,
    say: Say = print,
) -> None:
    """Give a config to Ray Serve, wait until all of it serves, and keep a record of it.

    Args:
        config: what is to be served.
        dashboard: the cluster's address.
        patience: seconds that it has to start.
        restores: the version that this goes back to.
        say: takes lines on how far it is.

    Raises:
        UserError: Serve refuses it, or it does not start; what served before goes on serving.
    """
    _require_same_door(config, dashboard)
    store = open_store(config.settings)
    nodes = sum(node["Alive"] for node in ray.nodes())
    if nodes > 1 and "s3://" not in store.root:
        say(
            f"storage.root: {store.root} is a folder, and the cluster has {nodes} nodes: keys hold only "
            "where it is the same one (a shared file system), or use s3://"
        )
    versions = Versions(store)
    good = versions.newest_served()
    version = versions.begin(config.data, restores)
    before = _deployed_at(config.name)
    _submit(config, dashboard)
    say(f"version {version.number}: {version.model}")
    try:
        _wait(config, before, patience, say)
    except UserError:
        versions.end(version, "failed")
        if good:
            # Else Serve would go on trying for the one that failed, and replace no replica that dies.
            variables = environment(config.data)
            _submit(of_data(with_environment(good.config, variables)), dashboard)
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


def _wait(config: ServeConfig, before: float | None, patience: float, say: Say) -> None:
    """Follow our application until the version deployed last serves; a line for every step, and every minute."""
    awake = None
    began = told = time.monotonic()
    said = ""
    while True:
        time.sleep(POLL_SECONDS)
        now = time.monotonic()
        found = serve.status().applications.get(config.name)
        line = "waiting for Ray Serve to take it"
        if found is not None and _deployed_at(config.name) != before:
            if found.status == "RUNNING":
                if _states(found)["RUNNING"]:
                    return
                # With `replicas.min: 0` Serve calls a version good that no replica has ever loaded.
                awake = awake or _wake(config.address, patience)
            if found.status in ("DEPLOY_FAILED", "UNHEALTHY"):
                raise UserError(_reason(found))
            line = f"{found.status.lower()}: {_shown(found) or 'building'}"
        if now - began > patience:
            raise UserError(f"it did not serve within {duration(patience)} ({line}){_room()}")
        if line != said:
            say(line)
        elif now - told > REMIND_SECONDS:
            say(f"{line}, for {duration(now - began)}{_room()}")
        else:
            continue
        said, told = line, now


def _wake(address: str, patience: float) -> threading.Thread:
    """Ask for something, so that a replica starts."""

    def ask() -> None:
        # Whatever comes of it shows in Serve's status.
        with contextlib.suppress(httpx.HTTPError), httpx.Client(trust_env=False) as client:
            client.get(f"{address}/health", timeout=patience)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    return asking


def _states(application: Any) -> Counter[str]:
    """Replicas by state."""
    found: Counter[str] = Counter()
    for each in application.deployments.values():
        found.update(each.replica_states)
    return found


def _shown(application: Any) -> str:
    return ", ".join(f"{number} {state.lower()}" for state, number in _states(application).items())


def _room() -> str:
    """What is free, as a new version stands beside the old one until it serves."""
    free = ray.available_resources()
    return f"; free in the cluster: {free.get('CPU', 0):g} CPUs, {free.get('GPU', 0):g} GPUs"


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
