"""The numbers are those of the harness' own backend, on the same rows."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from longspan.evaluate.suites.run import run_suites
from tests.evaluate.suites.made_suites import answering, put, ships, suite, values


def of_harness(name: str, rows: Sequence[Any], folder: Path, tmp_path: Path) -> dict[str, Any]:
    """What the harness' own backend finds on the same rows."""
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager
    from transformers import AutoModelForCausalLM, AutoTokenizer

    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    written = tmp_path / "harness.yaml"
    arguments = {"data_files": {"validation": str(data)}, "cache_dir": str(tmp_path / "cache")}
    source = tmp_path / "store" / "tasks" / f"{name}.yaml"
    written.write_text(
        f"include: {source}\ntask: {name}\ntraining_split: null\nnum_fewshot: 0\n"
        f"dataset_kwargs: {json.dumps(arguments)}\n"
    )
    lm = HFLM(
        pretrained=AutoModelForCausalLM.from_pretrained(folder),
        tokenizer=AutoTokenizer.from_pretrained(folder),
        device="cpu",
        batch_size=1,
    )
    loaded = TaskManager(include_defaults=False).load([str(written)])
    found = evaluate(lm, loaded, bootstrap_iters=0)
    assert found is not None
    return found


def test_likelihoods_are_those_of_the_harness_own_backend(scored, workspace, folder, tmp_path):
    rows = ships(12)
    put(workspace, "data/ships/validation.jsonl", rows)
    ours = run_suites([suite("ships")], scored, workspace)
    theirs = of_harness("ships", rows, folder, tmp_path)["results"]["ships"]
    assert values(ours) == {
        ("ships", metric): pytest.approx(theirs[f"{metric},none"], abs=1e-9)
        for metric in ("acc", "acc_norm")
    }
    assert 0 < theirs["acc,none"] < 1


def test_each_likelihood_is_that_of_the_harness_own_backend(scored, workspace, folder):
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoModelForCausalLM

    from longspan.evaluate.suites.answers import Answers
    from longspan.evaluate.suites.language_model import LanguageModel
    from longspan.evaluate.suites.prompts import PromptEncoder

    pairs = [
        ("The keeper counted", " the ships"),
        ("The keeper counted", " them"),
        ("The keeper counted  ", "the ships that passed"),
        ("", "A longer memory"),
        ("<|im_start|>user\n", "Which ship came first?"),
    ]
    requests = [
        Instance("loglikelihood", {}, pair, 0, ("t", number, 1))
        for number, pair in enumerate(pairs)
    ]
    whole = [
        Instance("loglikelihood_rolling", {}, ("She wrote their names. " * 20,), 0, ("t", 9, 1))
    ]
    hf = HFLM(
        pretrained=AutoModelForCausalLM.from_pretrained(folder),
        tokenizer=scored.tokenizer,
        device="cpu",
        batch_size=1,
    )
    answers = Answers(scored)
    ours = LanguageModel(answers, PromptEncoder(scored.tokenizer), {})
    ours.gather([*requests, *whole])
    answers.ask(workspace.store, print)
    for mine, theirs in zip(
        ours.loglikelihood(requests), hf.loglikelihood(requests, disable_tqdm=True), strict=True
    ):
        assert mine == (pytest.approx(theirs[0], rel=1e-6), theirs[1])
    assert ours.loglikelihood_rolling(whole) == pytest.approx(
        hf.loglikelihood_rolling(whole, disable_tqdm=True), rel=1e-5
    )


def test_replies_are_cut_as_the_harness_own_backend_cuts_them(
    tokenizer, workspace, folder, tmp_path
):
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)

    def generate(prompt: str) -> str:
        ids = torch.tensor([tokenizer.encode(prompt)])
        out = model.generate(ids, max_new_tokens=12, do_sample=False)
        return tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)

    rows = [{"question": row["question"], "answer": "x"} for row in ships(6)]
    put(workspace, "data/pages/validation.jsonl", rows)
    ours = run_suites([suite("pages")], answering(tokenizer, generate), workspace)
    theirs = of_harness("pages", rows, folder, tmp_path)["samples"]["pages"]
    assert [sample.reply for sample in ours.samples] == [
        each["filtered_resps"][0] for each in theirs
    ]
    assert len({sample.reply for sample in ours.samples}) > 1
