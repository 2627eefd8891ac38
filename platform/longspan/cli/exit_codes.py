"""Exit statuses of every command; `docs/commands.md` lists them."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit status of a command, with its meaning."""

    meaning: str

    def __new__(cls, status: int, meaning: str) -> "ExitCode":
        """Make a member from its status and its meaning."""
        member = int.__new__(cls, status)
        member._value_ = status
        member.meaning = meaning
        return member

    OK = 0, "Done. `evaluate`: the verdict is pass."
    FAILED = 1, "The command failed; or `check-history` found a history that is not whole."
    USER_ERROR = (
        2,
        "A mistake that the message names: an option, a key, a missing object, missing permissions.",
    )
    VERDICT_FAIL = 3, "`evaluate`: the verdict is fail. `pipeline`: a verdict of fail stopped it."
    VERDICT_INCONCLUSIVE = (
        4,
        "`evaluate`: the verdict is inconclusive. `pipeline`: an inconclusive verdict stopped it.",
    )
    INTERRUPTED = 130, "Ctrl-C. Finished work is kept; the same command resumes."
