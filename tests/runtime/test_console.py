"""What a driver prints."""

import subprocess
import sys

import pytest

from longspan.errors import UserError
from longspan.runtime import console

KILLED = """
import os, signal
from longspan.runtime import console

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


@pytest.mark.parametrize(("kind", "status"), [("RuntimeError", 1), ("UserError", 2)])
def test_what_a_driver_says_of_a_failure_holds_no_secret(
    capsys: pytest.CaptureFixture[str], kind: str, status: int
) -> None:
    secret = "hidden"

    def main(arguments: list[str]) -> int:
        error = UserError if kind == "UserError" else RuntimeError
        # The source line is part of a traceback: the secret is not in it.
        raise error(f"no answer from http://me:{secret}@proxy:3128/key?X-Amz-Signature={secret}")

    assert console.run(main, []) == status
    said = capsys.readouterr().err
    assert "no answer from http://***@proxy:3128/key?***" in said
    assert "hidden" not in said
