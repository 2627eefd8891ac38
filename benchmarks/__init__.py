"""Benchmarks, of the package in their own checkout, wherever another may be installed."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CHECKOUT = "LONGSPAN_BENCHMARK_CHECKOUT"
"""Environment variable with another checkout, whose package is measured in place of this one's."""

_package = str(Path(os.environ.get(CHECKOUT, ROOT)) / "platform")
sys.path.insert(0, _package)
# Ray's processes import it from there too.
os.environ["PYTHONPATH"] = os.pathsep.join([_package, str(ROOT)])
