"""The chunked loss under DeepSpeed: every ZeRO stage takes the step that plain autograd takes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.model.processes import python_path

WORKER = Path(__file__).with_name("zero_worker.py")


@pytest.mark.real
@pytest.mark.timeout(600)
@pytest.mark.parametrize("embeddings", ["tied", "untied"])
def test_two_ranks_step_as_one_process_does(
    embeddings: str, tiny: Path, tiny_untied: Path, tmp_path: Path
) -> None:
    path = tiny if embeddings == "tied" else tiny_untied
    environment = os.environ | python_path() | {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    ranks = [
        subprocess.Popen(
            [sys.executable, WORKER, path, tmp_path / "rendezvous", str(rank), "2"],
            env=environment | {"LOCAL_RANK": str(rank), "LOCAL_SIZE": "2"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        outputs = [rank.communicate(timeout=500)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    for rank, output in zip(ranks, outputs, strict=True):
        assert rank.returncode == 0, output[-4000:]
    assert outputs[0].count("agrees") == 6
