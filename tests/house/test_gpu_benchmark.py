"""The benchmark for a machine with one GPU runs all its parts on a CPU, and needs little to be installed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ranks import RankServer

ROOT = Path(__file__).parents[2]
ABSENT = (
    "ray",
    "pydantic",
    "boto3",
    "pyarrow",
    "pandas",
    "starlette",
    "vllm",
    "openai",
    "fastokens",
)
"""Packages that a machine without the project's environment need not have."""


def run(arguments: list[str]) -> None:
    from benchmarks.gpu import main

    main(arguments)


@pytest.mark.deep
@pytest.mark.real
def test_all_parts_run_on_a_cpu(ranks: RankServer, tmp_path: Path) -> None:
    output = tmp_path / "gpu.json"
    done = ranks.run(1, run, ["--device", "cpu", "--repeats", "1", "--output", str(output)])
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(output.read_text())
    attention, kernels, accumulation, layers = found["sections"]
    errors = {row["name"]: row["gradients"] for row in attention["rows"]}
    assert errors["sdpa_by_document"] < 1e-5
    missing = {name: reason for name, reason in attention["missing"] + kernels["missing"]}
    assert set(missing) == {"flash_attention_3", "flash_attention_2", "torch_varlen", "liger"}
    assert all("this is cpu" in reason for reason in missing.values())
    assert {row["name"] for row in kernels["rows"]} == {"rotate", "rms_norm", "swiglu"}
    assert [row["name"] for row in accumulation["rows"]] == ["fp32", "bf16"]
    assert not accumulation["missing"]
    (row,) = layers["rows"]
    assert row["tokens_per_s"] > 0 and row["planned"] > 0
    for section in found["sections"]:
        assert f"## {section['title']}" in done.stdout


@pytest.mark.deep
def test_it_needs_only_what_such_a_machine_has() -> None:
    program = f"""
import sys
for name in {ABSENT!r}:
    sys.modules[name] = None
import benchmarks.gpu
from longspan.train import deepspeed_setup, engine_config, learning_rate
from longspan.train.elastic import rendezvous
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
