"""The Ray cluster under a job: connecting to it, and what its workers compute on."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import ray
import ray.data  # Sets its own loggers up, before we turn them down.

import longspan
from longspan.errors import UserError
from longspan.job_environment import modules_of_submission
from longspan.plan.device import Device, this_machines_device
from longspan.runtime.driver_log import DriverLog, printed_lines
from longspan.runtime.head_address import require_head
from longspan.runtime.nodes import Labels, awaited, gpus_of, machines, none_up, start_machine
from longspan.runtime.pool import selector


class WorkerSettings(Protocol):
    """Settings of a job's workers that decide which nodes they run on."""

    @property
    def gpus_per_worker(self) -> float | None:
        """GPUs of one worker; None: one if the cluster has any."""
        ...

    @property
    def pool(self) -> str | None:
        """Pool whose nodes the workers run on; None: any node."""
        ...

    @property
    def falls_back_after(self) -> float | None:
        """Seconds without a spot machine after which one on demand is requested; None: never."""
        ...


@contextmanager
def connected(data_pool: str | None = None) -> Iterator[DriverLog]:
    """Connect to the cluster (a local one is started where there is none) with this code on every node.

    Args:
        data_pool: Ray Data works on its nodes alone; on any where it is None.

    Raises:
        UserError: RAY_ADDRESS names a head that does not answer.

    Yields what workers speak through: their lines are printed at once, without Ray's prefixes.
    """
    require_head()
    package = Path(longspan.__file__).parent
    # The job's output is for people: what Ray's own parts have to say is in the dashboard's logs.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    # Without it the dashboard knows of no Train run; Ray looks for it in the driver, not in workers.
    os.environ.setdefault("RAY_TRAIN_ENABLE_STATE_TRACKING", "1")
    # Ray refuses a job's modules beside ours unless ours, which then include the job's, may replace them.
    os.environ["RAY_OVERRIDE_JOB_RUNTIME_ENV"] = "1"
    ray.init(
        runtime_env={"py_modules": [str(package), *modules_of_submission()]},
        logging_level=logging.WARNING,
        log_to_driver=False,
    )
    data = ray.data.DataContext.get_current()
    data.enable_progress_bars = False
    data.execution_options.label_selector = selector(data_pool) or None
    try:
        with printed_lines() as log:
            yield log
    finally:
        ray.shutdown()


def cluster_device(workers: WorkerSettings, log: Callable[[str], None]) -> Device:
    """Return the device that workers will compute on: a GPU of the cluster, asked for by name, or its CPUs.

    A machine that is not up yet is waited for: Ray's autoscaler starts one.

    Raises:
        UserError: the settings ask for GPUs, and where Ray has them there are none.
    """
    asked, pool, patience = workers.gpus_per_worker, workers.pool, workers.falls_back_after
    if not asked:
        start_machine(pool, log, patience)
    gpus = float(any(map(gpus_of, machines(pool)))) if asked is None else asked
    if not gpus and not pool:
        return this_machines_device(0)

    def look(labels: Labels) -> Any:
        task = ray.remote(num_cpus=0, num_gpus=gpus, label_selector=dict(labels))
        return task(this_machines_device).remote(None if gpus else 0)

    device = awaited(look, pool, _missing(gpus, asked, pool), log, patience)
    if asked and device.kind == "cpu":
        raise UserError(
            f"workers.gpus_per_worker: {asked:g} is asked for, and Ray gave a machine whose nvidia-smi "
            "shows no GPU: fix its driver, or start Ray there without --num-gpus"
        )
    return device


def _missing(gpus: float, asked: float | None, pool: str | None) -> str:
    if not gpus:
        return none_up(pool)
    where = f" (pool {pool!r})" if pool else ""
    why = ", which workers.gpus_per_worker asks for" if asked else ""
    return f"no machine has {gpus:g} GPU free{where}{why}"
