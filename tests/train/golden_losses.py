"""Renews golden_losses.json: python -m tests.train.golden_losses [--add].

Without an option, after a change that is meant to touch numbers: the curves of other machines hold the numbers from
before the change, and are dropped. With --add they are kept, and this kind of machine is added; refused if its losses
differ by more than the last bits.
"""

import json
import sys
import tempfile
from pathlib import Path

import pytest

from tests.ranks import RankServer
from tests.tiny import make_tiny_model
from tests.train.test_engine import (
    GOLDEN,
    GOLDEN_TOLERANCE,
    PLAIN,
    golden,
    losses,
    machine,
    train,
)


def main() -> None:
    kept = golden() if "--add" in sys.argv else {}
    with tempfile.TemporaryDirectory() as folder:
        make_tiny_model(Path(folder) / "model")
        (result,) = train(RankServer(), {2: Path(folder) / "model"}, Path(folder), [PLAIN])
    curve = losses(result)
    for name, other in kept.items():
        if curve != pytest.approx(other, rel=GOLDEN_TOLERANCE):
            sys.exit(
                f"--add: the losses are not those of {name} to {GOLDEN_TOLERANCE:g}: "
                "the numbers have changed; renew the file without --add"
            )
    GOLDEN.write_text(json.dumps(kept | {machine(): curve}, indent=1) + "\n")


if __name__ == "__main__":
    main()
