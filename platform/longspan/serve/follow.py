"""Following a version that Ray Serve has been given, until it serves or is known not to."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import ray
from ray import serve
from ray.serve.handle import DeploymentResponse

from longspan.errors import UserError
from longspan.observe.units import duration
from longspan.serve.app import DEPLOYMENT
from longspan.serve.config import ServeConfig

POLL_SECONDS = 1.0
REMIND_SECONDS = 60.0
Log = Callable[[str], None]


def deployed_at(name: str) -> float | None:
    """When Serve was last given the application, in its own time; None where it has none."""
    found = serve.status().applications.get(name)
    return found.last_deployed_time_s if found else None


def follow(config: ServeConfig, before: float | None, patience: float, log: Log) -> None:
    """Wait until the version deployed last serves; a line for every step, and every minute.

    Args:
        config: what was deployed.
        before: when the version before it was, by `deployed_at`.
        patience: seconds that it has.
        log: takes the lines.

    Raises:
        UserError: it does not start, or not in time.
    """
    asked = None
    began = told = time.monotonic()
    said = ""
    while True:
        time.sleep(POLL_SECONDS)
        now = time.monotonic()
        found = serve.status().applications.get(config.name)
        line = "waiting for Ray Serve to take it"
        if found is not None and found.last_deployed_time_s != before:
            if found.status == "RUNNING":
                if _states(found)["RUNNING"]:
                    return
                # With `replicas.min: 0` Serve calls a version good that no replica has ever loaded: ask for
                # something. Whatever comes of it shows in its status.
                asked = asked or _ask(config.name)
            # A user's mistake is the same at the second start, which Serve would go on to.
            if found.status in ("DEPLOY_FAILED", "UNHEALTHY") or _mistakes(found):
                raise UserError(_reason(found))
            line = f"{found.status.lower()}: {_shown(found) or 'building'}"
        if now - began > patience:
            raise UserError(f"it did not serve within {duration(patience)} ({line}){_room()}")
        if line != said:
            log(line)
        elif now - told > REMIND_SECONDS:
            log(f"{line}, for {duration(now - began)}{_room()}")
        else:
            continue
        said, told = line, now


def _ask(name: str) -> DeploymentResponse[Any]:
    """A request that only a replica can answer; it waits for one to start."""
    return serve.get_deployment_handle(DEPLOYMENT, name).check_health.remote()


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


def _said(application: Any) -> str:
    said = [application.message, *(each.message for each in application.deployments.values())]
    return "\n".join(each for each in said if each)


def _mistakes(application: Any) -> list[str]:
    """The user's mistakes in what Serve says of an application."""
    return re.findall(r"errors\.UserError: (.+)", _said(application))


def _reason(application: Any) -> str:
    """The user's mistake for which an application failed, or all that Serve says of it."""
    mistakes = _mistakes(application)
    return mistakes[-1] if mistakes else f"the service did not start:\n{_said(application)}"
