"""The stages of a pipeline, each as the job that one would start by hand."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from longspan.errors import UserError
from longspan.pipeline.stages import Stage


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
            print(f"done before, with the same inputs: {stage.store.uri(stage.output)}")
            continue
        inputs = stage.inputs()
        stage.begin(inputs)
        print(f"$ python {' '.join(map(_quoted, stage.command))}", flush=True)
        began = time.monotonic()
        status = _run(stage, root)
        if status:
            print(
                f"error: {stage.name} ended with status {status}; what it said is above. The same "
                "command goes on from there",
                file=sys.stderr,
            )
            return status
        if not stage.store.exists(stage.output):
            raise UserError(f"{stage.name}: it ended well, but {stage.output} is not there")
        stage.end(inputs)
        print(f"{stage.name}: done in {time.monotonic() - began:.0f} s", flush=True)
    return 0


def _run(stage: Stage, root: Path) -> int:
    process = subprocess.Popen([sys.executable, "-u", *stage.command], cwd=root)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            # The terminal has told the stage as well; it ends, and says how to go on.
            continue


def _quoted(word: str) -> str:
    return f"'{word}'" if set(word) & set(" {}[]*'") else word
