"""``python -m longspan``, the same as ``longspan``."""

import sys

from longspan.cli.entry import main

if __name__ == "__main__":
    sys.exit(main())
