"""Runs of suites: what is asked and kept, cut prompts, limits, chat templates, draws, and groups."""

from dataclasses import replace
from typing import Any

import pytest

from longspan.evaluate.suites.load import load_suites
from longspan.evaluate.suites.run import run_suites, run_tasks
from longspan.evaluate.suites.schema import PromptCut
from tests.evaluate.suites.made_suites import (
    CHOICE_TASK,
    TEXT_TASK,
    answering,
    put,
    replies,
    scrolls,
    ships,
    suite,
    values,
)


def test_what_was_answered_is_not_asked_again_and_models_do_not_share_answers(tokenizer, workspace):
    put(
        workspace,
        "data/pages/validation.jsonl",
        [{"question": f"q {n}", "answer": "yes"} for n in range(5)],
    )
    first = answering(tokenizer, lambda prompt: "yes")
    assert values(run_suites([suite("pages")], first, workspace)) == {("pages", "exact_match"): 0.0}
    # "yes" ends at its "e".
    again = answering(tokenizer, lambda prompt: "y")
    assert values(run_suites([suite("pages")], again, workspace)) == {("pages", "exact_match"): 0.0}
    assert (len(replies(first).asked), len(replies(again).asked)) == (5, 0)
    other = answering(tokenizer, lambda prompt: "no", identity="other")
    run_suites([suite("pages")], other, workspace)
    assert len(replies(other).asked) == 5


def test_a_longer_prompt_than_the_window_is_refused_and_makes_the_result_invalid(
    tokenizer, scored, workspace
):
    long = {"question": "tide " * 300, "answer": "0", "options": ["a", "b"]}
    put(workspace, "data/pages/validation.jsonl", [{"question": "short", "answer": "y"}, long])
    put(workspace, "data/ships/validation.jsonl", [ships(1)[0], long | {"answer": 0}])
    model = answering(tokenizer, lambda prompt: "y", scoring=scored.scoring)
    run = run_suites([suite("pages", "ships")], model, workspace)
    assert set(values(run).values()) == {None}
    assert {result.over_length for result in run.results} == {1}
    assert len(replies(model).asked) == 1
    scores = {sample.score for sample in run.samples if sample.problem}
    assert scores == {None}
    assert all(
        sample.problem.startswith("over_length: ") for sample in run.samples if sample.problem
    )


def test_a_prompt_is_cut_at_its_left_only_where_asked_and_cuts_are_counted(tokenizer, workspace):
    rows = [
        {"question": "tide " * 300 + "END", "answer": "y"},
        {"question": "short", "answer": "y"},
    ]
    put(workspace, "data/pages/validation.jsonl", rows)
    model = answering(tokenizer, lambda prompt: "y")
    task = {"task": "pages", "truncate_prompt": {"tokens": 64}}
    run = run_suites([suite(task)], model, workspace)
    assert values(run) == {("pages", "exact_match"): 1.0}
    assert run.results[0].truncated == 1
    assert run.results[0].prompt_cut == PromptCut(side="left", tokens=64)
    assert [sample.is_prompt_truncated for sample in run.samples] == [True, False]
    lengths = [len(request.prompt_ids) for request in replies(model).asked]
    assert max(lengths) == 64
    assert replies(model).prompts[0].endswith("END")


def test_the_first_questions_are_the_same_whatever_the_limit_and_the_other_tasks(
    tokenizer, workspace
):
    rows = ships(10)
    put(
        workspace,
        "data/pages/validation.jsonl",
        [{"question": r["question"], "answer": "y"} for r in rows],
    )
    put(workspace, "data/paper_qasper/validation.jsonl", scrolls(8))
    put(workspace, "data/paper_qasper/train.jsonl", scrolls(20))

    def prompts(*tasks: Any) -> tuple[set[str], list[int | None]]:
        model = answering(tokenizer, lambda prompt: "y", identity=repr(tasks), window=10**6)
        run = run_suites([suite(*tasks)], model, workspace)
        asked = {prompt for prompt in replies(model).prompts if "Q:" in prompt}
        return asked, [result.limit for result in run.results]

    few, limits = prompts({"task": "paper_qasper", "limit": 3})
    assert len(few) == 3 and limits == [3]
    # A limit that leaves nothing out is none.
    more, limits = prompts("pages", {"task": "paper_qasper", "limit": 8})
    assert few < more and limits == [None, None]


def test_a_chat_model_gets_turns_of_its_template_and_one_bos(tokenizer, workspace):
    put(workspace, "data/paper_qasper/validation.jsonl", scrolls(2))
    put(workspace, "data/paper_qasper/train.jsonl", scrolls(20))
    model = answering(tokenizer, lambda prompt: "The answer 0", window=10**6, chat=True)
    run_suites([suite({"task": "paper_qasper", "limit": 1})], model, workspace)
    (request,) = replies(model).asked
    prompt = tokenizer.decode(request.prompt_ids)
    assert prompt.startswith("<|im_start|>user\nDocument ")
    assert prompt.count("<|im_start|>") == 6
    assert prompt.endswith("Q: What is 0?, A:<|im_end|>\n<|im_start|>assistant\n")


def test_repeated_draws_are_different_prompts_and_greedy_ones_are_not(tokenizer, workspace):
    put(workspace, "data/pages/validation.jsonl", [{"question": "Which?", "answer": "y"}])
    for options, asked in (("do_sample: false", 1), ("do_sample: true, temperature: 0.9", 3)):
        drawn = TEXT_TASK.replace("do_sample: false", options) + "repeats: 3\n"
        workspace.store.write_bytes("tasks/pages.yaml", drawn.encode())
        model = answering(tokenizer, lambda prompt: "y", identity=options)
        run_suites([suite("pages")], model, workspace)
        assert len({request.seed for request in replies(model).asked}) == asked
        assert len(replies(model).asked) == asked


def test_a_group_is_one_result_with_the_samples_of_all_its_tasks(scored, workspace):
    aggregated = "aggregate_metric_list: [{metric: acc, weight_by_size: true}]\n"
    names = [f"ships_{number}" for number in range(3)]
    for number, name in enumerate(names):
        own = CHOICE_TASK.replace("task: ships", f"task: {name}")
        workspace.store.write_bytes(f"tasks/{name}.yaml", own.encode())
        put(workspace, f"data/{name}/validation.jsonl", ships(2 + 3 * number))
    part = f"group: part\ntask: [ships_0, ships_1]\n{aggregated}"
    whole = f"group: fleet\ntask: [part, ships_2]\n{aggregated}"
    workspace.store.write_bytes("tasks/part.yaml", part.encode())
    workspace.store.write_bytes("tasks/fleet.yaml", whole.encode())
    run = run_suites([suite({"task": "fleet", "metrics": ["acc"]})], scored, workspace)
    alone = run_suites(
        [suite(*({"task": name, "metrics": ["acc"]} for name in names))], scored, workspace
    )
    found = {result.task: result for result in run.results}
    assert {name: (own.n, own.group) for name, own in found.items()} == {
        "fleet": (15, "own"),
        "part": (7, "own, parts of fleet"),
    }
    scores = {result.task: (result.value, result.n) for result in alone.results}
    assert found["fleet"].value == pytest.approx(
        sum((value or 0) * n for value, n in scores.values()) / 15
    )
    assert found["fleet"].stderr is not None
    of_fleet = {sample.id: sample.score for sample in run.samples if sample.task == "fleet"}
    assert of_fleet == {sample.id: sample.score for sample in alone.samples}


def test_loaded_tasks_are_the_same_for_each_model_that_is_asked_them(scored, workspace):
    for split in ("train", "validation"):
        put(workspace, f"data/ships/{split}.jsonl", ships(9))
    tasks = load_suites([suite({"task": "ships", "shots": 2})], workspace, likelihoods=True)
    model = replace(scored, window=10**6)
    first = run_tasks(tasks, model, workspace)
    assert run_tasks(tasks, model, workspace) == first
    assert run_suites([suite({"task": "ships", "shots": 2})], model, workspace) == first


def test_loading_the_package_reads_no_heavy_library():
    import subprocess
    import sys

    code = (
        "import sys; import longspan.evaluate.suites.schema, longspan.evaluate.suites.run; "
        "sys.exit(any(name in sys.modules for name in ('lm_eval', 'torch', 'datasets', 'ray', 'scipy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
