"""Deploying a version of the service, waiting for it, and saying what happens meanwhile."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import yaml
from ray import serve

from longspan._compat.ray_serve import serve_details
from longspan.config.load import parse
from longspan.errors import UserError
from longspan.runtime.head_address import require_head
from longspan.serve.config import BUILDER, ServeConfig, application_of
from longspan.serve.control import open_control, open_to_others
from longspan.serve.follow import Log, deployed_at, follow
from longspan.serve.schema import ServeSettings
from longspan.serve.versions import Versions
from longspan.storage import Store

HAS_SERVED = ("RUNNING", "UNHEALTHY")
"""Status of an application, by Serve, whose config is known to have come up."""


@contextmanager
def connected() -> Iterator[str]:
    """Connect to the cluster that runs; yields its dashboard's address.

    Raises:
        UserError: none runs, or its head has no dashboard.
    """
    require_head()
    try:
        context = ray.init(address="auto", logging_level="ERROR", log_to_driver=False)
    except ConnectionError:
        raise UserError("no Ray cluster runs here: `make head`, or set RAY_ADDRESS") from None
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    try:
        if not context.dashboard_url:
            raise UserError(
                f"the Ray head at {context.address_info['gcs_address']} runs without its dashboard, which takes "
                "the configs of Ray Serve; start it without --include-dashboard=false"
            )
        yield f"http://{context.dashboard_url}"
    finally:
        ray.shutdown()


@dataclass(frozen=True)
class Serving:
    """Configuration of this cluster's applications as Ray Serve itself reports it.

    Attributes:
        applications: the config of every application.
        application: that of ours; None if there is none.
        is_good: whether ours has served with it.
    """

    applications: list[dict[str, Any]]
    application: dict[str, Any] | None
    is_good: bool

    @property
    def args(self) -> dict[str, Any] | None:
        """The arguments of our application."""
        return self.application.get("args") if self.application else None

    @property
    def settings(self) -> ServeSettings | None:
        """The arguments, parsed; None if there are none, or another release wrote them."""
        try:
            return parse(ServeSettings, self.args) if self.args else None
        except UserError:
            return None


def serving(dashboard: str, name: str) -> Serving:
    """Ask Serve what it was given.

    Args:
        dashboard: the cluster's address.
        name: of our application.
    """
    found = serve_details(dashboard)["applications"]
    configs = {key: each.get("deployed_app_config") for key, each in found.items()}
    ours = configs.get(name)
    if ours and ours.get("import_path") != BUILDER:
        ours = None
    is_good = ours is not None and found[name]["status"] in HAS_SERVED
    return Serving([each for each in configs.values() if each], ours, is_good)


def deploy(
    config: ServeConfig,
    dashboard: str,
    patience: float,
    restores: int | None = None,
    log: Log = print,
) -> None:
    """Give a config to Ray Serve, wait until all of it serves, and keep a record of it.

    Args:
        config: what is to be served.
        dashboard: the cluster's address.
        patience: seconds that it has to start.
        restores: the version that this goes back to.
        log: takes lines on how far it is.

    Raises:
        UserError: Serve refuses it, or it does not start; what served before goes on serving.
    """
    _require_same_door(config, dashboard)
    store = open_control(config.settings)
    for line in warnings(store, sum(node["Alive"] for node in ray.nodes())):
        log(line)
    versions = Versions(store, log)
    version = versions.begin(config.settings, restores)
    good, before = serving(dashboard, config.name), deployed_at(config.name)
    try:
        _submit(config.data, dashboard)
        log(f"version {version.number}: {version.model}")
        follow(config, before, patience, log)
    except UserError:
        versions.end(version, "failed")
        _take_back(config, good, dashboard, log)
        raise
    versions.end(version, "served")
    log(f"version {version.number} serves at {config.address}")


def _take_back(config: ServeConfig, good: Serving, dashboard: str, log: Log) -> None:
    """Give Serve what it had before: else it would go on trying for what failed, and replace no replica that dies.

    What that was Serve itself has said; a record in the store leads to nothing unless a person asks for it.
    """
    now = serving(dashboard, config.name)
    if now.application == good.application:
        return
    if now.args != application_of(config.data)["args"]:
        log(
            "the version that failed is not taken back: somebody else has deployed another one since"
        )
    elif good.is_good:
        _submit(config.data | {"applications": good.applications}, dashboard)
    elif good.args:
        log(
            "no version is known to have served before this one: `rollback` goes back to an earlier one"
        )


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
    http = config.data["http_options"]
    host, port = http["host"], http.get("port", 8000)
    if serve.status().proxies:
        running = serve_details(dashboard)["http_options"]
        if (running["host"], running["port"]) != (host, port):
            same = (
                f"use that one (--port {running['port']})"
                if running["host"] == host
                else f"set http_options.host: {running['host']} and port: {running['port']} in the config file"
            )
            raise UserError(
                f"http_options: the Serve of this cluster listens on {running['host']}:{running['port']} "
                f"while it runs, not on {host}:{port}; {same}, or end it first: serve shutdown"
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


def _submit(data: dict[str, Any], dashboard: str) -> None:
    """`serve deploy`."""
    program = Path(sys.executable).parent / "serve"
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(data, file)
        file.flush()
        command = [str(program), "deploy", file.name, "--address", dashboard]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"serve deploy failed: {(done.stderr or done.stdout).strip()[-2000:]}")
