"""From a base model to a chat model: continual pretraining, self-instruct, finetuning, one after another.

ray job submit -- python jobs/pipeline.py [recipe.yaml] [key.path=value ...] [--validate | --plan]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from longspan.cli.entry import run_job

if __name__ == "__main__":
    sys.exit(run_job(__file__))
