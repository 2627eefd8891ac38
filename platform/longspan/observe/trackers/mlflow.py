"""MLflow as a tracker."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator

from longspan.observe.scalars import scalars
from longspan.observe.tracker import Record
from longspan.observe.trackers.addresses import without_login
from longspan.observe.trackers.run import TrackedRun

if TYPE_CHECKING:
    from mlflow import MlflowClient

RUN_TAG = "longspan.runtime"
MAX_PARAMETERS = 100
"""Parameters of one request."""
MAX_CHARACTERS = 500
"""Of a parameter's value."""
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # The defaults keep a request for minutes.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
}


class MlflowTracker:
    """Records in an experiment of MLflow; a :class:`~longspan.observe.tracker.Tracker`.

    Credentials are taken from the worker's environment (MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and
    MLFLOW_TRACKING_PASSWORD), never from the recipe.

    Args:
        run: the run.
        tracking_uri: address of the tracking server, or a folder that the first worker can write to.
        experiment: the experiment; made if it does not exist.
    """

    requires = ("mlflow",)

    def __init__(
        self,
        run: TrackedRun,
        tracking_uri: Annotated[
            str,
            AfterValidator(without_login("MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD")),
        ],
        experiment: str = "longspan",
    ) -> None:
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        self._client = MlflowClient(tracking_uri)
        self._id = _run_id(self._client, experiment, run)

    def log(self, record: Record) -> None:
        """Send the record's numbers."""
        from mlflow.entities import Metric

        if shown := scalars(record):
            now = int(1000 * record["time"])
            metrics = [
                Metric(metric_name(tag), value, now, record["update"])
                for tag, value in shown.items()
            ]
            self._client.log_batch(self._id, metrics=metrics)

    def close(self) -> None:
        """Mark the run as finished; a resumed run is marked as running again."""
        self._client.set_terminated(self._id)


def metric_name(tag: str) -> str:
    """MLflow's name of a tag: `heldout/loss.books`. In a folder, `heldout/loss` could not be a file and a folder."""
    group, _, name = tag.partition("/")
    return f"{group}/{name.replace('/', '.')}"


def _run_id(client: MlflowClient, experiment: str, run: TrackedRun) -> str:
    """MLflow's identifier of the run: that of its first start, or of a new one."""
    found = client.get_experiment_by_name(experiment)
    experiment_id = found.experiment_id if found else client.create_experiment(experiment)
    earlier = client.search_runs([experiment_id], f"tags.`{RUN_TAG}` = '{run.id}'", max_results=1)
    if earlier:
        client.update_run(earlier[0].info.run_id, status="RUNNING")
        return earlier[0].info.run_id
    made = client.create_run(experiment_id, run_name=run.name, tags={RUN_TAG: run.id})
    for part in _in_parts(list(_parameters(run.config))):
        client.log_batch(made.info.run_id, params=part)
    return made.info.run_id


def _parameters(value: Any, name: str = "") -> Iterator[Any]:
    """Values of the recipe by dotted key."""
    from mlflow.entities import Param

    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _parameters(each, f"{name}.{key}" if name else str(key))
    elif value is not None:
        yield Param(name, str(value)[:MAX_CHARACTERS])


def _in_parts(items: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(items), MAX_PARAMETERS):
        yield items[start : start + MAX_PARAMETERS]
