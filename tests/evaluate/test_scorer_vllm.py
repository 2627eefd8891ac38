"""Losses of a short prompt are vLLM's."""

import json
from pathlib import Path

import numpy as np
import pytest

from longspan.evaluate.scoring.scorer import Scorer
from tests.evaluate.scored import random_ids
from tests.model.processes import run_python
from tests.tiny import make_tiny_model

WORKER = Path(__file__).with_name("prompt_logprobs_worker.py")


@pytest.mark.deep
@pytest.mark.real
@pytest.mark.timeout(600)
def test_losses_of_a_short_prompt_are_those_of_vllm(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path, window=1024, rope_base=500_000.0, tied=False)
    ids = random_ids(400)
    done = run_python(
        WORKER.read_text(),
        folder,
        json.dumps(ids),
        timeout=500,
        VLLM_CPU_KVCACHE_SPACE="1",
        VLLM_ENABLE_V1_MULTIPROCESSING="0",
        HF_HUB_OFFLINE="1",
    )
    expected = json.loads(done.stdout.rpartition("RESULT ")[2].splitlines()[0])
    losses = Scorer.load(folder, "fp32").token_losses(ids, 1)
    np.testing.assert_allclose(losses, expected, atol=1e-4)
