"""``python -m longspan.samples``, the same as ``longspan samples``."""

import sys

from longspan.cli.entry import run_module
from longspan.cli.samples import samples

if __name__ == "__main__":
    sys.exit(run_module(samples, "python -m longspan.samples"))
