"""Suites on a cluster: a pool of scorers, vLLM, and a second run that asks nothing."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from longspan.evaluate.scoring.pool import Pool, ScoredModel, Workers
from longspan.evaluate.suites.load import Workspace
from longspan.evaluate.suites.model import SuiteModel
from longspan.evaluate.suites.run import run_suites
from longspan.evaluate.suites.schema import Suite
from longspan.generate.engine import Engine
from longspan.generate.generators import EngineGenerator
from longspan.storage import Store
from tests.tiny import make_tiny_model

WINDOW = 512

CHOICES = """
task: choices
dataset_path: json
validation_split: validation
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_target: 0
doc_to_choice: ["one", "two words"]
"""


@pytest.mark.real
@pytest.mark.deep
@pytest.mark.timeout(900)
def test_suites_run_on_the_cluster_and_a_second_run_asks_nothing(
    ray_session: str, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    folder = make_tiny_model(tmp_path / "model", WINDOW, tied=False)
    store, lines = Store(str(tmp_path / "store")), list[str]()
    store.write_bytes("tasks/choices.yaml", CHOICES.encode())
    rows = [{"question": f"Which ship is number {at}?"} for at in range(40)]
    questions = [
        {"id": str(at), "input": f"What is {at}?\n\nThe ship number {at}.", "output": "a ship"}
        for at in range(40)
    ]
    questions[7]["input"] += " tide" * WINDOW
    for path, content in (("choices", rows), ("paper_narrative_qa", questions)):
        text = "".join(json.dumps(row) + "\n" for row in content)
        store.write_bytes(f"data/{path}/validation.jsonl", text.encode())
    suite = Suite.model_validate(
        {
            "name": "both",
            "tasks": ["choices", {"task": "paper_narrative_qa", "max_tokens": 16}],
            "data": "data",
            "include": ["tasks"],
        }
    )
    scored = ScoredModel(str(folder), "weights", "fp32")
    engine = Engine(str(folder), WINDOW, gpu=False)
    model = SuiteModel(
        identity="tiny",
        window=WINDOW,
        tokenizer=AutoTokenizer.from_pretrained(folder),
        scoring=Pool(store, scored, Workers(actors=1), lines.append),
        generator=EngineGenerator(engine, "model"),
    )
    workspace = Workspace(store, tmp_path / "local", lines.append)
    first = run_suites([suite], model, workspace)
    choices, *_, answers = first.results
    assert choices.task == "choices" and choices.value is not None and choices.n == 40
    # The task allows to shorten prompts to 16,384 tokens, which is no help here: one is too long.
    assert (answers.value, answers.over_length, answers.truncated) == (None, 1, 0)
    replied = [sample for sample in first.samples if sample.task == "paper_narrative_qa"]
    assert sum(sample.score is not None for sample in replied) == 39
    assert any(sample.reply for sample in replied)

    # Neither a scorer nor an engine could start.
    gone = replace(
        model,
        scoring=Pool(store, replace(scored, address="/gone"), Workers(actors=1), lines.append),
        generator=EngineGenerator(replace(engine, model="/gone"), "model"),
    )
    assert run_suites([suite], gone, workspace) == first
