"""Ranks of a process group, forked from one process that has already imported torch and DeepSpeed.

A training process spends six to seven CPU seconds on imports and a few hundredths on an update of the tiny model.
The fork server (multiprocessing's) pays for the imports once per test session; each rank is a process of its own.
One test starts ranks with the real launcher: `torch.distributed.run` is what users type.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.ports import free_ports
from tests.services import started

PRELOAD = [
    "pandas",
    "pytest",
    "tests.preloaded",
    "tests.train.engine_worker",
    "longspan.train.loop",
    "longspan.train.prepare",
    "longspan.train.standalone",
    "deepspeed.runtime.engine",
    "deepspeed.runtime.zero.stage_1_and_2",
    "deepspeed.runtime.zero.stage3",
    # Imported by DeepSpeed when an engine is made; the optimizer imports torch._inductor.
    "deepspeed.module_inject.auto_ep_config",
    "deepspeed.runtime.zero.muon.muon_optimizer",
    "torch.utils.tensorboard",
    "transformers.models.llama.modeling_llama",
]
"""Imported by the fork server; nothing of it may start a thread (`assert_forkable`)."""
SERVER_ENVIRONMENT = {
    # Read when the libraries are loaded, so in the server.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "DS_ACCELERATOR": "cpu",
}

Target = Callable[..., int | None]


class RankServer:
    """Starts groups of forked ranks; one per test session (the fixture `ranks`)."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOAD)
        before = dict(os.environ)
        os.environ.update(SERVER_ENVIRONMENT)
        try:
            # The first fork starts the server, which keeps this environment.
            self.run(1, assert_forkable)
        finally:
            for name in SERVER_ENVIRONMENT:
                os.environ.pop(name)
                if name in before:
                    os.environ[name] = before[name]

    def run(
        self,
        world_size: int,
        target: Target,
        *arguments: Any,
        environment: Mapping[str, str] | None = None,
        timeout_s: float = 200,
    ) -> subprocess.CompletedProcess[str]:
        """Run ``target(*arguments)`` on each rank to its end, with the variables that torchrun sets.

        Args:
            world_size: number of ranks.
            target: a module-level function; its result is the exit status, None is 0.
            arguments: of ``target``; pickled.
            environment: more variables for the ranks.
            timeout_s: after which all ranks are killed.

        Returns:
            The first nonzero exit status, and the output of all ranks in rank order.
        """
        started("rank group")
        (port,) = free_ports(1)
        with TemporaryDirectory(prefix="ls-ranks-") as folder:
            processes = [
                self._context.Process(
                    target=_rank,
                    args=(
                        {
                            **os.environ,
                            **SERVER_ENVIRONMENT,
                            **_variables(rank, world_size, port),
                            **(environment or {}),
                        },
                        Path(folder, str(rank)),
                        target,
                        arguments,
                    ),
                )
                for rank in range(world_size)
            ]
            for process in processes:
                process.start()
            status = _status(processes, timeout_s)
            out, err = (
                "".join(
                    path.read_text(errors="replace") if path.exists() else ""
                    for path in (Path(folder, f"{rank}.{name}") for rank in range(world_size))
                )
                for name in ("out", "err")
            )
        return subprocess.CompletedProcess(str(target), status, out, err)


def assert_forkable() -> None:
    """A fork keeps only the thread that forks: the server must have no other."""
    assert len(os.listdir("/proc/self/task")) == 1, os.listdir("/proc/self/task")


def _variables(rank: int, world_size: int, port: int) -> dict[str, str]:
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world_size),
        "LOCAL_WORLD_SIZE": str(world_size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def _rank(
    environment: Mapping[str, str], output: Path, target: Target, arguments: tuple[Any, ...]
) -> None:
    """Be one rank; ends the process without taking the interpreter down, as the launcher's ranks do."""
    for number, name in ((1, "out"), (2, "err")):
        with open(f"{output}.{name}", "wb") as file:
            os.dup2(file.fileno(), number)
    os.environ.clear()
    os.environ.update(environment)
    # What the server has imported stays: a collection need not look through it.
    gc.freeze()
    try:
        status = target(*arguments) or 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _status(processes: Sequence[BaseProcess], timeout_s: float) -> int:
    """Wait for all; when one fails, or at the timeout, the others are killed."""
    deadline = time.monotonic() + timeout_s
    running = {process.sentinel: process for process in processes}
    status = 0
    try:
        while running and not status:
            ended = wait(list(running), timeout=max(0.0, deadline - time.monotonic()))
            if not ended:
                raise TimeoutError(f"{len(running)} ranks still run after {timeout_s:g} s")
            for sentinel in ended:
                process = running.pop(sentinel)  # type: ignore[call-overload]
                process.join()
                status = status or process.exitcode or 0
    finally:
        for process in running.values():
            process.kill()
            process.join()
    return status
