"""Exit statuses of every command; `docs/commands.md` lists them."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit status of a command."""

    OK = 0
    FAILED = 1
    USER_ERROR = 2
    VERDICT_FAIL = 3
    VERDICT_INCONCLUSIVE = 4
    INTERRUPTED = 130

    @property
    def meaning(self) -> str:
        """Meaning of the status."""
        return _MEANINGS[self]


_MEANINGS = {
    ExitCode.OK: "Done. `evaluate`: the verdict is pass.",
    ExitCode.FAILED: "The command failed; or `check-history` found a history that is not whole.",
    ExitCode.USER_ERROR: (
        "A mistake that the message names: an option, a key, a missing object, missing permissions."
    ),
    ExitCode.VERDICT_FAIL: "`evaluate`: the verdict is fail. `pipeline`: a verdict of fail stopped it.",
    ExitCode.VERDICT_INCONCLUSIVE: (
        "`evaluate`: the verdict is inconclusive. `pipeline`: an inconclusive verdict stopped it."
    ),
    ExitCode.INTERRUPTED: "Ctrl-C. Finished work is kept; the same command resumes.",
}
