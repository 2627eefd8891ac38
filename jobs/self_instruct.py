"""Self-instruct: long documents in, chat examples with long questions out, without human labels.

ray job submit -- python jobs/self_instruct.py [recipe.yaml] [key.path=value ...] [--validate | --plan]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from longspan.cli.entry import run_job

if __name__ == "__main__":
    sys.exit(run_job(__file__))
