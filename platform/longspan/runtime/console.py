"""Error output of a driver, and its exit status: 0 done, 1 failed, 2 a user's mistake, 130 interrupted."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from io import TextIOWrapper

from longspan.addresses import redacted
from longspan.errors import user_error_in


def run(main: Callable[[list[str]], int], arguments: list[str]) -> int:
    """Run a driver; the user's own mistakes become one clear message instead of a traceback."""
    if isinstance(sys.stdout, TextIOWrapper):
        # Through a pipe or into a file Python would keep lines back, and a killed driver's last ones for ever.
        sys.stdout.reconfigure(line_buffering=True)
    try:
        return main(arguments)
    except KeyboardInterrupt:
        print(
            "\nInterrupted. What was finished is kept; re-run the same command to resume.",
            file=sys.stderr,
        )
        return 130
    except Exception as error:
        if mistake := user_error_in(error):
            print(f"error: {mistake}", file=sys.stderr)
            return 2
        if death := _death_in(error):
            print(f"failed: {death}; re-run the same command to resume", file=sys.stderr)
        else:
            print(redacted(traceback.format_exc()), file=sys.stderr)
        return 1


def _death_in(error: Exception) -> str | None:
    """A process of the job that has died, if that is the error; Ray is not imported for other commands."""
    if "ray" not in sys.modules:
        return None
    from longspan.runtime.process_deaths import death_in

    return death_in(error)
