"""lm-evaluation-harness' own client of endpoints against the service: the answers and the score of an own suite."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from longspan.evaluate.suites.load import Workspace
from longspan.evaluate.suites.model import SuiteModel
from longspan.evaluate.suites.run import SuiteRun, run_suites
from longspan.evaluate.suites.schema import Suite
from longspan.generate.endpoint import EndpointAccess, EndpointClient
from longspan.generate.generators import InProcessGenerator
from longspan.generate.schema import Endpoint
from longspan.model.load import load_tokenizer
from longspan.storage import Store
from tests.serve.service import WINDOW, Service
from tests.tiny import TEXT

pytestmark = [pytest.mark.real, pytest.mark.deep, pytest.mark.timeout(600)]

TASK = """
task: pages
dataset_path: json
training_split: train
test_split: test
output_type: generate_until
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_target: "{{answer}}"
num_fewshot: 2
fewshot_config: {sampler: first_n}
generation_kwargs: {do_sample: false, max_gen_toks: 16, until: ["\\n", " w"]}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
"""
QUESTIONS = 12


def of_the_harness(deployed: Service, folder: Path) -> list[dict[str, Any]]:
    """Samples as `lm_eval --model local-completions` logs them, in the order of the questions."""
    arguments = {
        "model": "tiny",
        "base_url": f"{deployed.url}/v1/completions",
        "tokenizer_backend": "huggingface",
        "tokenizer": str(deployed.models[0]),
        "max_length": WINDOW,
    }
    written = ",".join(f"{key}={value}" for key, value in arguments.items())
    command = [sys.executable, "-m", "lm_eval", "run", "--model", "local-completions"]
    command += ["--model_args", written, "--tasks", str(folder / "harness.yaml")]
    done = subprocess.run(
        [*command, "--output_path", str(folder / "out"), "--log_samples"],
        env=os.environ
        | {"OPENAI_API_KEY": deployed.key, "HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    (path,) = (folder / "out").rglob("samples_pages_*.jsonl")
    samples = [json.loads(line) for line in path.read_text().splitlines()]
    return sorted(samples, key=lambda sample: sample["doc_id"])


def of_an_own_suite(deployed: Service, folder: Path) -> SuiteRun:
    """The same questions through the suites of an evaluation."""
    endpoint = Endpoint(url=f"{deployed.url}/v1", model="tiny")
    client = EndpointClient(EndpointAccess(endpoint, SecretStr(deployed.key), "endpoint", WINDOW))
    model = SuiteModel(
        *("tiny", WINDOW, load_tokenizer(deployed.models[0])),
        generator=InProcessGenerator(client),
    )
    tasks: Any = ["pages"]
    suite = Suite(name="own", tasks=tasks, data="data", include=["tasks"])
    workspace = Workspace(Store(str(folder / "store")), folder / "local", lambda line: None)
    return run_suites([suite], model, workspace)


def write_questions(store: Store, rows: list[dict[str, str]]) -> None:
    for split, some in (("train", rows[:2]), ("test", rows[2:])):
        text = "".join(json.dumps(row) + "\n" for row in some)
        store.write_bytes(f"data/pages/{split}.jsonl", text.encode())


def test_local_completions_gives_the_answers_and_the_score_of_an_own_suite(
    deployed: Service, tmp_path: Path
) -> None:
    store = Store(str(tmp_path / "store"))
    store.write_bytes("tasks/pages.yaml", TASK.encode())
    files = {
        name: str(tmp_path / "store/data/pages" / f"{name}.jsonl") for name in ("train", "test")
    }
    (tmp_path / "harness.yaml").write_text(
        f"{TASK}dataset_kwargs: {{data_files: {json.dumps(files)}}}\n"
    )
    rows = [
        {"question": f"{TEXT[at % len(TEXT)]} ({at})", "answer": "a ship"}
        for at in range(QUESTIONS + 2)
    ]
    write_questions(store, rows)
    first = of_an_own_suite(deployed, tmp_path)
    assert len({sample.reply for sample in first.samples}) > 1

    # A random model is never right: half of the questions get its answers as theirs.
    for row, sample in list(zip(rows[2:], first.samples, strict=True))[::2]:
        row["answer"] = sample.reply
    write_questions(store, rows)
    theirs, ours = of_the_harness(deployed, tmp_path), of_an_own_suite(deployed, tmp_path)
    assert [sample.reply for sample in ours.samples] == [each["resps"][0][0] for each in theirs]
    assert [sample.score for sample in ours.samples] == [each["exact_match"] for each in theirs]
    (result,) = ours.results
    assert result.value == sum(each["exact_match"] for each in theirs) / QUESTIONS
    assert result.value is not None and 0.5 <= result.value < 1
