"""Renews golden_losses.json, after a change meant to touch numbers: python -m tests.train.golden_losses.

The curves of other machines are of the numbers before, and are dropped. With --add they are kept:
for the same numbers on one more kind of machine.
"""

import json
import sys
import tempfile
from pathlib import Path

from tests.ranks import RankServer
from tests.tiny import make_tiny_model
from tests.train.test_engine import GOLDEN, PLAIN, losses, machine, train


def main() -> None:
    kept = json.loads(GOLDEN.read_text()) if "--add" in sys.argv else {}
    with tempfile.TemporaryDirectory() as folder:
        make_tiny_model(Path(folder) / "model")
        (result,) = train(RankServer(), Path(folder) / "model", Path(folder), [PLAIN])
    GOLDEN.write_text(json.dumps(kept | {machine(): losses(result)}, indent=1) + "\n")


if __name__ == "__main__":
    main()
