"""What a driver prints."""

import subprocess
import sys

KILLED = """
import os, signal
from longspan.run import console

def main(arguments):
    print("40 of 300")
    os.kill(os.getpid(), signal.SIGKILL)

console.run(main, [])
"""


def test_a_driver_that_is_killed_has_said_what_it_printed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (-9, "40 of 300\n"), done.stderr
