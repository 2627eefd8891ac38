"""Whether runs that were stopped, resized and restarted were each one undisturbed run.

python jobs/check_history.py RUN [RUN ...], such as .longspan/store/runs/quickstart or s3://bucket/prefix/runs/name
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from longspan.cli.entry import run_job

if __name__ == "__main__":
    sys.exit(run_job(__file__))
