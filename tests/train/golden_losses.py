"""Writes golden_losses.json anew, after a change meant to touch numbers: python -m tests.train.golden_losses."""

import json
import tempfile
from pathlib import Path

import torch

from tests.tiny import make_tiny_model
from tests.train.test_engine import GOLDEN, losses, train


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        make_tiny_model(Path(folder) / "model")
        curve = losses(train(Path(folder) / "model", Path(folder), 1, 1, 1))
    machine = {"torch": torch.__version__, "cpu": torch.backends.cpu.get_cpu_capability()}
    GOLDEN.write_text(json.dumps({"machine": machine, "losses": curve}, indent=1) + "\n")


if __name__ == "__main__":
    main()
