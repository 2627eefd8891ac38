"""``python -m longspan.storage``, the same as ``longspan download``."""

import sys

from longspan.cli.entry import run_module
from longspan.cli.runs import download

if __name__ == "__main__":
    sys.exit(run_module(download, "python -m longspan.storage"))
