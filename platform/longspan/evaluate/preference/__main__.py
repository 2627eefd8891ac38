"""``python -m longspan.evaluate.preference``, the same as ``longspan evaluate preference``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from longspan.cli.entry import run_module
from longspan.cli.preference import preference


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status."""
    return run_module(preference, "python -m longspan.evaluate.preference", arguments)


if __name__ == "__main__":
    sys.exit(main())
