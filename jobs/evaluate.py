"""Evaluation of a long-context model: probes, losses and standard suites, a report, and a verdict.

ray job submit -- python jobs/evaluate.py [recipe.yaml] [key.path=value ...] [--validate | --plan | --watch RUN]
python jobs/evaluate.py compare A B
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from longspan.cli.entry import run_job

if __name__ == "__main__":
    sys.exit(run_job(__file__))
