"""``python -m longspan.cluster``, the same as ``longspan cluster``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from longspan.cli.cluster import cluster
from longspan.cli.entry import run_module


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status."""
    return run_module(cluster, "python -m longspan.cluster", arguments)


if __name__ == "__main__":
    sys.exit(main())
