"""Suites of three small tasks over a store of made rows, and models that answer them."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from longspan.evaluate.scoring.batches import score_all
from longspan.evaluate.scoring.requests import Request as ScoreRequest
from longspan.evaluate.scoring.requests import Score, Texts
from longspan.evaluate.scoring.scorer import Scorer
from longspan.evaluate.suites.load import Workspace
from longspan.evaluate.suites.model import SuiteModel
from longspan.evaluate.suites.run import SuiteRun
from longspan.evaluate.suites.schema import Suite
from longspan.generate.generators import InProcessGenerator
from longspan.generate.requests import Reply, Request

WINDOW = 256

CHOICE_TASK = """
task: ships
dataset_path: json
validation_split: validation
training_split: train
output_type: multiple_choice
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_target: "{{answer}}"
doc_to_choice: options
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
metadata: {version: 3}
"""
TEXT_TASK = """
task: pages
dataset_path: json
validation_split: validation
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {do_sample: false, max_gen_toks: 12, until: ["\\n", "e"]}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
"""
ROLLING_TASK = """
task: prose
dataset_path: json
validation_split: validation
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list:
  - {metric: bits_per_byte, aggregation: bits_per_byte, higher_is_better: false}
"""


@dataclass
class InProcessScoring:
    """Scores in this process, without keeping anything."""

    scorer: Scorer
    asked: int = 0

    def score(
        self, requests: Sequence[ScoreRequest], texts: Texts, name: str
    ) -> Mapping[str, Score]:
        self.asked += len(requests)
        return score_all(self.scorer, requests, texts)


@dataclass
class Replies:
    """Answers with a function of the prompt's text; keeps what it was asked."""

    tokenizer: Any
    answer: Callable[[str], str]
    asked: list[Request] = field(default_factory=list)

    def respond(self, request: Request) -> Reply:
        self.asked.append(request)
        text = self.answer(self.tokenizer.decode(request.prompt_ids))
        return Reply(request.id, request.carry, text, "stop", len(request.prompt_ids), 1)

    @property
    def prompts(self) -> list[str]:
        return [self.tokenizer.decode(request.prompt_ids) for request in self.asked]


def put(workspace: Workspace, path: str, rows: Sequence[Any]) -> None:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    workspace.store.write_bytes(path, text.encode())


def ships(number: int) -> list[dict[str, Any]]:
    words = ["storm", "harvest", "letter", "book of names", "tide"]
    return [
        {
            "question": f"Which of them carried number {at}, and what did the {words[at % 5]} say?",
            "options": [f"the {words[(at + shift) % 5]} of {shift}" for shift in range(2 + at % 3)],
            "answer": at % 2,
        }
        for at in range(number)
    ]


def scrolls(number: int) -> list[dict[str, Any]]:
    """Two references for each of some questions, two questions on each document."""
    return [
        {
            "id": f"q{at}",
            "pid": f"q{at}_{reference}",
            "input": f"What is {at}?\n\nDocument {at // 2} is long.\n\nIt says a lot.",
            "output": f"The answer {at}" if reference else "something else",
        }
        for at in range(number)
        for reference in range(2)
    ]


def suite(*tasks: Any, **settings: Any) -> Suite:
    values = {"name": "own", "tasks": list(tasks), "data": "data", "include": ["tasks"]}
    return Suite.model_validate(values | settings)


def answering(tokenizer: Any, answer: Callable[[str], str], **settings: Any) -> SuiteModel:
    """A model that replies with a function of the prompt."""
    model = SuiteModel(
        "fake", WINDOW, tokenizer, None, InProcessGenerator(Replies(tokenizer, answer))
    )
    return replace(model, **settings)


def replies(model: SuiteModel) -> Replies:
    assert isinstance(model.generator, InProcessGenerator)
    assert isinstance(model.generator.responder, Replies)
    return model.generator.responder


def values(run: SuiteRun) -> dict[tuple[str, str], float | None]:
    """Values by task and metric."""
    return {(result.task, result.metric): result.value for result in run.results}
