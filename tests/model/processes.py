"""Running a piece of Python in a process of its own, with longspan importable."""

import os
import subprocess
import sys
from pathlib import Path

import longspan


def run_python(
    program: str, *arguments: object, timeout: float = 240, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a program text to its end and return what it wrote; its failure fails the test."""
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env={**os.environ, **python_path(), "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done


def python_path() -> dict[str, str]:
    return {"PYTHONPATH": str(Path(longspan.__file__).parents[1])}
