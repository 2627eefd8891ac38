"""Deploying a version of the service, waiting for it, and saying what happens meanwhile."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray
import yaml
from ray import serve
from ray.dashboard.modules.serve.sdk import ServeSubmissionClient

from longspan.errors import UserError
from longspan.serve.config import ServeConfig, environment, of_data, with_environment
from longspan.serve.control import open_control, open_to_others
from longspan.serve.follow import Say, deployed_at, follow
from longspan.serve.versions import Versions
from longspan.storage import Store


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
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
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
    store = open_control(config.settings)
    for line in warnings(store, sum(node["Alive"] for node in ray.nodes())):
        say(line)
    versions = Versions(store)
    good = versions.newest_served()
    version = versions.begin(config.data, restores)
    before = deployed_at(config.name)
    _submit(config, dashboard)
    say(f"version {version.number}: {version.model}")
    try:
        follow(config, before, patience, say)
    except UserError:
        versions.end(version, "failed")
        if good:
            # Else Serve would go on trying for the one that failed, and replace no replica that dies.
            variables = environment(config.data)
            _submit(of_data(with_environment(good.config, variables)), dashboard)
        raise
    versions.end(version, "served")
    say(f"version {version.number} serves at {config.address}")


def warnings(store: Store, nodes: int) -> Iterator[str]:
    """What may be meant so and may be not: whether all nodes see the same folder only their owner knows."""
    if nodes > 1 and not store.root.startswith("s3://"):
        yield (
            f"storage.root: {store.root} is a folder, and the cluster has {nodes} nodes: keys hold only "
            "where it is the same one (a shared file system), or use s3://"
        )
    yield from open_to_others(store)


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
