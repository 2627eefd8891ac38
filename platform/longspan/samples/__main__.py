"""``python -m longspan.samples``, the same as ``longspan samples``."""

import sys

from longspan.cli.entry import run_module

if __name__ == "__main__":
    sys.exit(run_module("samples", "python -m longspan.samples"))
