"""Exit statuses of an evaluation, by its verdict.

Apart from 1 (the job failed) and 2 (a mistake of the user's), so that a crash is never taken for a verdict.
"""

from typing import Literal

VerdictStatus = Literal["pass", "fail", "inconclusive"]

EXIT_STATUS: dict[VerdictStatus, int] = {"pass": 0, "fail": 3, "inconclusive": 4}


def verdict_of(exit_status: int) -> VerdictStatus | None:
    """Return the verdict that a status stands for; None for any other status."""
    return next((verdict for verdict, status in EXIT_STATUS.items() if status == exit_status), None)
