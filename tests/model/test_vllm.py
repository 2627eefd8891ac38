"""vLLM reads an exported model as transformers does: base, window and the tokens it generates."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from longspan.model.export import ExportSpec, export_model
from longspan.model.load import load_model
from longspan.model.positions import Positions, using_positions
from tests.model.processes import run_python

ABF = Positions("abf", 500_000.0, 4.0, 256)
PLAIN = Positions("none", 10_000.0, 1.0, 256)
WORKER = Path(__file__).with_name("vllm_worker.py")
GENERATED = 16


@pytest.mark.deep
@pytest.mark.real
@pytest.mark.timeout(600)
def test_vllm_generates_what_transformers_does(tiny_untied: Path, tmp_path: Path) -> None:
    path = export(tiny_untied, tmp_path / "model")
    # Longer than the base model's window, so that wrong positions would show.
    prompt = torch.randint(3, 512, (1, 400), generator=torch.Generator().manual_seed(0))
    model = AutoModelForCausalLM.from_pretrained(path)
    expected = greedy(model, prompt)
    with using_positions(model, PLAIN):
        assert greedy(model, prompt) != expected, "the base makes no difference to this prompt"
    done = run_python(
        WORKER.read_text(),
        path,
        json.dumps(prompt[0].tolist()),
        timeout=500,
        VLLM_CPU_KVCACHE_SPACE="1",
        VLLM_ENABLE_V1_MULTIPROCESSING="0",
        HF_HUB_OFFLINE="1",
    )
    seen = json.loads(done.stdout.rpartition("RESULT ")[2].splitlines()[0])
    assert seen["rope_parameters"] == {"rope_type": "default", "rope_theta": 500_000.0}
    assert seen["window"] == 1024
    assert seen["tokens"] == expected


def export(source: Path, into: Path) -> Path:
    """A model whose attention is strong enough for positions to matter."""
    model = load_model(source, ABF, 1024, torch.float32, "sdpa", False)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.mul_(4.0 if "proj" in name else 1.0)
    return export_model(model, source, ExportSpec(model.config, ABF, 1024, torch.float32), into)


def greedy(model: Any, prompt: torch.Tensor) -> list[int]:
    output = model.generate(
        prompt, max_new_tokens=GENERATED, min_new_tokens=GENERATED, do_sample=False, eos_token_id=-1
    )
    return output[0, prompt.shape[1] :].tolist()
