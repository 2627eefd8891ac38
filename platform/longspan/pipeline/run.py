"""The stages of a pipeline, each as the job that one would start by hand."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path

import longspan
from longspan.errors import UserError
from longspan.evaluate.exit_status import verdict_of
from longspan.pipeline.stages import Stage

FAILED = 1
"""Exit status if a stage ended by a signal."""
PROGRAM = (sys.executable, "-P", "-u", "-m", "longspan")
"""`longspan` in a process of its own; -P keeps the current folder out of the module search path."""
SKIPPED = "skipped: it already succeeded with the same inputs"


def run(stages: Sequence[Stage], program: Sequence[str] = PROGRAM) -> int:
    """Run what is not done yet, in order, and stop at the first stage that fails.

    Args:
        stages: of one pipeline.
        program: what takes the command of a stage, and is found in its environment.

    Returns:
        The exit status of the last stage that ran, 0 if it succeeded; 1 if a signal ended it.
    """
    for number, stage in enumerate(stages, 1):
        print(f"\n== {number} of {len(stages)}: {stage.name} ({stage.recipe.name})", flush=True)
        if stage.is_done():
            print(f"{SKIPPED}: {stage.store.uri(stage.output)}")
            continue
        inputs = stage.inputs()
        stage.begin(inputs)
        print(f"$ {command_line(stage)}", flush=True)
        began = time.monotonic()
        status = _run([*program, *stage.command])
        if not stage.succeeds_with(status):
            print(_stop_message(stage, status), file=sys.stderr)
            return max(status, 0) or FAILED
        if not stage.store.exists(stage.output):
            raise UserError(f"{stage.name}: it succeeded, but {stage.output} is not there")
        stage.end(inputs)
        if status:
            print(
                f"{stage.name}: the verdict is {verdict_of(status)!r}; the pipeline goes on (stop_on: {stage.stop_on})"
            )
        print(f"{stage.name}: done in {time.monotonic() - began:.0f} s", flush=True)
    return 0


def command_line(stage: Stage) -> str:
    """Command of a stage as a shell takes it, in the current folder."""
    return shlex.join(["longspan", *stage.command])


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


def _run(command: Sequence[str]) -> int:
    # In the folder of the pipeline itself: the relative paths of both mean the same there.
    process = subprocess.Popen(command, env=_environment())
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            # The terminal has told the stage as well; it ends, and says how to resume.
            continue


def _environment() -> dict[str, str]:
    """Environment in which a stage finds the code that this process runs, also if it is an uploaded copy."""
    source = str(Path(longspan.__file__).parents[1])
    if source in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        return dict(os.environ)
    paths = [source, *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


def print_stages(stages: Sequence[Stage]) -> int:
    """Print what a pipeline would do: each stage, whether it is done, and its command."""
    for number, stage in enumerate(stages, 1):
        done = f"done: {stage.store.uri(stage.output)}" if stage.is_done() else "to be run"
        print(f"{number}. {stage.name:<14} {stage.recipe.name:<24} {done}")
        print(f"   {command_line(stage)}")
    print("Each command takes --plan, which prints what that stage will do.")
    return 0
