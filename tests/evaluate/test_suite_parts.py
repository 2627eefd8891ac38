"""Parts of suites by themselves: shortened prompts, sampling, standard errors, and recipes."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from longspan.errors import UserError
from longspan.evaluate.suites.files import local_files, local_folder, reader, stored_files
from longspan.evaluate.suites.presets import tasks_of
from longspan.evaluate.suites.prompts import DOCUMENT, PROMPT, SEPARATOR, PromptEncoder
from longspan.evaluate.suites.replies import Prompt, in_order
from longspan.evaluate.suites.schema import Suite, SuiteTask
from longspan.evaluate.suites.scores import SuiteSample, clustered_stderr
from longspan.generate.requests import Sampling
from longspan.storage import Store
from tests.tiny import make_tiny_tokenizer

TEXT = "The keeper counted the ships: 12 of them, and 3 more (“späť”) after the storm.\n\n" * 8


@cache
def plain_encoder() -> PromptEncoder:
    return PromptEncoder(make_tiny_tokenizer())


@cache
def bos_encoder() -> PromptEncoder:
    """The same tokenizer, which puts a token before and another one behind every text."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = make_tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A <|im_end|>",
        special_tokens=[("<|im_start|>", 1), ("<|im_end|>", 2)],
    )
    return PromptEncoder(tokenizer)


@pytest.fixture
def encoder() -> PromptEncoder:
    return plain_encoder()


def test_what_a_tokenizer_puts_behind_a_text_does_not_end_a_prompt(encoder):
    own = bos_encoder()
    plain = encoder.encode("The keeper")
    assert list(own.tokenizer("The keeper")["input_ids"]) == [1, *plain, 2]
    assert own.encode("The keeper") == [1, *plain]
    assert own.encode("<|im_start|>The keeper") == [1, *plain]
    context, continuation = own.pair("The keeper", " counted")
    assert (context, continuation) == (
        [1, *plain],
        encoder.encode("The keeper counted")[len(plain) :],
    )


@given(tokens=st.integers(1, 400))
def test_a_prompt_cut_at_its_left_keeps_its_end_and_its_bos(tokens):
    for own in (plain_encoder(), bos_encoder()):
        whole = own.encode(TEXT)
        cut = own.cut_left(whole, tokens)
        assert len(cut) == min(tokens, len(whole))
        has_bos = whole[0] == own.tokenizer.bos_token_id and tokens > 1
        assert cut[has_bos:] == whole[len(whole) - len(cut) + has_bos :]
        assert cut[:has_bos] == whole[:has_bos]


@given(tokens=st.integers(60, 500))
def test_a_document_is_cut_at_its_end_and_all_else_stays(tokens):
    encoder = plain_encoder()
    head, tail = "Read this.\n\n", "\n\nQuestion: who?\nAnswer:"
    doc = {
        PROMPT: head + TEXT + tail,
        DOCUMENT: [len(head), len(head) + len(TEXT)],
        SEPARATOR: "... [cut]",
    }
    ids = encoder.cut_document(head + TEXT + tail, doc, tokens)
    text = encoder.tokenizer.decode(ids)
    assert len(ids) <= tokens
    if text == head + TEXT + tail:
        return
    assert text.startswith(head)
    assert text.endswith("... [cut]" + tail)
    kept = text.removeprefix(head).removesuffix("... [cut]" + tail)
    # A cut inside a character leaves a part of it.
    assert TEXT.startswith(kept.rstrip("\ufffd"))
    assert len(ids) > tokens - 8


def test_the_document_of_the_question_is_cut_and_not_that_of_an_example(encoder):
    question = f"Read: {TEXT} Who?"
    doc = {PROMPT: question, DOCUMENT: [6, 6 + len(TEXT)]}
    before, after = f"<|im_start|>user\n{question} Nobody.\n", "<|im_end|>\n"
    whole = before + question + after
    cut = encoder.tokenizer.decode(
        encoder.cut_document(whole, doc, len(encoder.encode(whole)) - 100)
    )
    assert cut.startswith(before + "Read: The keeper")
    assert cut.endswith(" Who?" + after)
    assert len(cut) < len(whole)


@pytest.mark.parametrize(
    ("doc", "tokens", "message"),
    [
        ({}, 50, "needs a task that marks its document"),
        ({PROMPT: TEXT, DOCUMENT: [0, 10]}, 20, "leave nothing of a document"),
    ],
    ids=["unmarked", "too-few"],
)
def test_a_document_that_cannot_be_cut_is_an_error(encoder, doc, tokens, message):
    with pytest.raises(UserError, match=message):
        encoder.cut_document(TEXT, doc, tokens)


def test_prompts_on_one_document_follow_each_other_and_the_longest_come_first():
    sizes = {"a": [3, 9], "b": [20], "c": [9, 8, 1]}
    prompts = [
        Prompt(f"{cluster}{size}", np.zeros(size, np.int32), Sampling(1, 0.0), cluster)
        for cluster, own in sizes.items()
        for size in own
    ]
    ordered = [prompt.id for prompt in in_order(prompts)]
    assert ordered == ["b20", "a9", "a3", "c9", "c8", "c1"]


def sample(number: int, cluster: str, score: float | None) -> SuiteSample:
    return SuiteSample(str(number), "t", "acc", cluster, score, "", "", False, False)


def test_the_error_of_independent_questions_is_that_of_a_mean():
    scores = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0]
    samples = [sample(at, str(at), score) for at, score in enumerate(scores)]
    expected = np.std(scores, ddof=1) / np.sqrt(len(scores))
    assert clustered_stderr(samples, float(np.mean(scores))) == pytest.approx(expected)


def test_questions_that_repeat_each_other_count_once():
    scores = [1.0, 0.0, 1.0, 1.0]
    alone = [sample(at, str(at), score) for at, score in enumerate(scores)]
    copied = [replace(each, id=f"{each.id}-{copy}") for each in alone for copy in range(5)]
    assert clustered_stderr(copied, 0.75) == pytest.approx(clustered_stderr(alone, 0.75))


def test_there_is_no_error_of_what_is_no_mean_or_has_no_reply():
    samples = [sample(0, "a", 1.0), sample(1, "b", 0.0)]
    assert clustered_stderr(samples, 0.5) is not None
    assert clustered_stderr(samples, 0.7) is None
    assert clustered_stderr([*samples, sample(2, "c", None)], 0.5) is None
    assert clustered_stderr([sample(0, "a", 1.0), sample(1, "a", 1.0)], 1.0) is None


def test_presets_are_the_papers_settings():
    long = tasks_of(Suite(name="long", preset="paper-long", without=["paper_quality"]))
    assert [(task.task, task.shots) for task in long] == [
        ("paper_narrative_qa", 0),
        ("paper_qasper", 2),
        ("paper_qmsum", 1),
    ]
    short = {task.task: task for task in tasks_of(Suite(name="short", preset="paper-short"))}
    assert {
        name: short[name].shots for name in ("mmlu", "gsm8k_cot", "hellaswag", "mbpp_sandboxed")
    } == {
        "mmlu": 5,
        "gsm8k_cot": 8,
        "hellaswag": 0,
        "mbpp_sandboxed": 3,
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "s"}, "a suite needs tasks, or a preset"),
        ({"name": "s", "tasks": [{"task": "t", "shot": 1}]}, "shot"),
        ({"name": "s", "tasks": ["t"], "limit": 0}, "limit"),
        (
            {
                "name": "s",
                "tasks": [{"task": "t", "truncate_prompt": {"side": "right", "tokens": 5}}],
            },
            "side",
        ),
    ],
    ids=["empty", "unknown-key", "limit", "side"],
)
def test_a_suite_that_says_nothing_sensible_is_refused(values: dict[str, Any], message: str):
    with pytest.raises(ValidationError, match=message):
        Suite.model_validate(json.loads(json.dumps(values)))


class Remote(Store):
    """A folder that says of itself to be a bucket."""

    def uri(self, path: str = "") -> str:
        return "s3://bucket/" + super().uri(path).lstrip("/")


def test_data_and_task_files_of_a_bucket_are_copied_with_their_names(tmp_path):
    store = Remote(str(tmp_path / "store"))
    paths = {"train": "own/ships/train.jsonl.gz", "test": "own/ships/test/part-0.parquet"}
    for path in [*paths.values(), "own/ships/README.md", "tasks/deep/ships.yaml"]:
        store.write_bytes(path, path.encode())
    stored = stored_files(SuiteTask(task="ships"), "ships", "own", store)
    found = local_files(stored, store, tmp_path / "local")
    assert found.keys() == paths.keys()
    for split, path in paths.items():
        (copy,) = (Path(each) for each in found[split])
        assert copy.is_relative_to(tmp_path / "local")
        assert (copy.name, copy.read_text()) == (path.rsplit("/", 1)[-1], path)
    with pytest.raises(UserError, match="Parquet and JSON files cannot be mixed"):
        reader([path for own in found.values() for path in own], "files")
    tasks = local_folder(store, "tasks", tmp_path / "local")
    assert (tasks / "deep/ships.yaml").read_text() == "tasks/deep/ships.yaml"
