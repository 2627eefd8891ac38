"""The Ray cluster under a job: connecting to it, and what its workers compute on."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import ray
import ray.data  # Sets its own loggers up, before we turn them down.

import longspan
from longspan.recipe.device import Device, this_machines_device
from longspan.run.lines import Say, printed_lines

if TYPE_CHECKING:
    from longspan.recipe.schema import Recipe


@contextmanager
def connected() -> Iterator[Say]:
    """Connect to the cluster (a local one is started where there is none) with this code on every node.

    Yields what workers speak through: their lines are printed at once, without Ray's prefixes.
    """
    package = Path(longspan.__file__).parent
    # The job's output is for people: what Ray's own parts have to say is in the dashboard's logs.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    # Without it the dashboard knows of no Train run; Ray looks for it in the driver, not in workers.
    os.environ.setdefault("RAY_TRAIN_ENABLE_STATE_TRACKING", "1")
    ray.init(
        runtime_env={"py_modules": [str(package)]},
        logging_level=logging.WARNING,
        log_to_driver=False,
    )
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        with printed_lines() as say:
            yield say
    finally:
        ray.shutdown()


def cluster_device(recipe: Recipe) -> Device:
    """What the recipe's workers will compute on: a GPU of the cluster, asked for by name, or its CPUs."""
    asked = recipe.workers.gpus_per_worker
    if asked == 0 or not ray.cluster_resources().get("GPU"):
        return this_machines_device(0)
    return ray.get(ray.remote(num_gpus=asked or 1)(this_machines_device).remote(asked))
