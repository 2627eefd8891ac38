"""The stages of a pipeline, each as the job that one would start by hand."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from longspan.errors import UserError
from longspan.evaluate.exit_status import verdict_of
from longspan.pipeline.stages import Stage

SKIPPED = "skipped: it already succeeded with the same inputs"


def run(stages: Sequence[Stage], root: Path) -> int:
    """Run what is not done yet, in order, and stop at the first stage that fails.

    Args:
        stages: of one pipeline.
        root: the checkout, in which `jobs` lies.

    Returns:
        The exit status of the last stage that ran; 0 is well.
    """
    for number, stage in enumerate(stages, 1):
        print(f"\n== {number} of {len(stages)}: {stage.name} ({stage.recipe.name})", flush=True)
        if stage.is_done():
            print(f"{SKIPPED}: {stage.store.uri(stage.output)}")
            continue
        inputs = stage.inputs()
        stage.begin(inputs)
        print(f"$ {command_line(stage, root)}", flush=True)
        began = time.monotonic()
        status = _run(stage, root)
        if not stage.succeeds_with(status):
            print(_stop_message(stage, status), file=sys.stderr)
            return status
        if not stage.store.exists(stage.output):
            raise UserError(f"{stage.name}: it succeeded, but {stage.output} is not there")
        stage.end(inputs)
        if status:
            print(
                f"{stage.name}: the verdict is {verdict_of(status)!r}; the pipeline goes on (stop_on: {stage.stop_on})"
            )
        print(f"{stage.name}: done in {time.monotonic() - began:.0f} s", flush=True)
    return 0


def command_line(stage: Stage, root: Path) -> str:
    """A stage's job as a shell takes it, in the current folder.

    Args:
        stage: of a pipeline.
        root: the checkout, in which `jobs` lies.
    """
    job, *words = stage.command
    script = job if Path.cwd() == root else str(root / job)
    return shlex.join(["python", script, *words])


def _stop_message(stage: Stage, exit_status: int) -> str:
    verdict = verdict_of(exit_status) if stage.is_evaluation else None
    if verdict is None:
        return (
            f"error: {stage.name} failed with exit status {exit_status}; its messages are above. Re-run the same "
            "command to resume"
        )
    return (
        f"{stage.name}: the verdict is {verdict}; the pipeline stops (evaluate.stop_on: {stage.stop_on}); train "
        "another model, change gate.*, or set stop_on: never"
    )


def _run(stage: Stage, root: Path) -> int:
    # In the folder of the pipeline itself: the relative paths of both mean the same there.
    job, *words = stage.command
    process = subprocess.Popen([sys.executable, "-u", os.fspath(root / job), *words])
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            # The terminal has told the stage as well; it ends, and says how to resume.
            continue


def print_stages(stages: Sequence[Stage], root: Path) -> int:
    """Print what a pipeline would do: each stage, whether it is done, and its command.

    Args:
        stages: of one pipeline.
        root: the checkout, in which `jobs` lies.
    """
    for number, stage in enumerate(stages, 1):
        done = f"done: {stage.store.uri(stage.output)}" if stage.is_done() else "to be run"
        print(f"{number}. {stage.name:<14} {stage.recipe.name:<24} {done}")
        print(f"   {command_line(stage, root)}")
    print("Each command takes --plan, which prints what that stage will do.")
    return 0
