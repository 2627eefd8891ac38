"""Benchmarks, of the package in their own checkout, wherever another may be installed."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

sys.path.insert(0, str(ROOT / "platform"))
# Ray's processes import it from here too.
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "platform"), str(ROOT)])
