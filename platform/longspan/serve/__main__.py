"""``python -m longspan.serve``, the same as ``longspan serve``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from longspan.cli.entry import run_module
from longspan.cli.serve import serve


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status."""
    return run_module(serve, "python -m longspan.serve", arguments)


if __name__ == "__main__":
    sys.exit(main())
