"""Mistakes in suites are named before anything is asked, or before a job starts."""

from functools import partial

import pytest

from longspan.errors import UserError
from longspan.evaluate.suites.checks import check_suites
from longspan.evaluate.suites.library import Library
from longspan.evaluate.suites.run import run_suites
from tests.evaluate.suites.made_suites import CHOICE_TASK, answering, put, ships, suite


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tasks": [{"task": "ships", "metrics": ["f1"]}]}, r"no metric 'f1'; it has acc"),
        ({"tasks": ["ships"], "data": "nowhere"}, r"suites.data: .*nowhere/ships has no data"),
        (
            {"tasks": [{"task": "ships", "files": {"test": "data/ships/validation.jsonl"}}]},
            r"needs its split 'validation'",
        ),
        ({"tasks": [{"task": "ships", "shots": 2}]}, r"needs its split 'train'"),
        (
            {"tasks": [{"task": "pages", "files": {"validation": "nothing.jsonl"}}]},
            r"nothing.jsonl does not exist",
        ),
        (
            {"preset": "paper-long", "without": ["ships"]},
            r"'ships' is no task of preset 'paper-long'",
        ),
        ({"tasks": [{"task": "ships", "max_tokens": 3}]}, r"'ships' generates nothing"),
        (
            {"tasks": [{"task": "prose", "truncate_prompt": {"tokens": 9}}]},
            r"task 'prose' has no prompts",
        ),
        ({"tasks": ["ships", "pages"]}, r"suites.data: .*data/pages has no data"),
        (
            {"include": ["nowhere"], "tasks": ["ships"]},
            r"suites.include: .*nowhere is not a folder",
        ),
    ],
    ids=[
        *("metric", "data", "split", "examples", "file", "without", "max-tokens", "no-prompts"),
        *("second-task", "include"),
    ],
)
def test_mistakes_are_named_before_anything_is_asked(scored, workspace, settings, message):
    put(workspace, "data/ships/validation.jsonl", ships(4))
    put(workspace, "data/prose/validation.jsonl", [{"text": "A tide."}])
    with pytest.raises(UserError, match=message):
        run_suites([suite(**settings)], scored, workspace)
    assert scored.scoring.asked == 0
    # Without data being read, as before a job starts.
    with pytest.raises(UserError, match=message):
        check_suites([suite(**settings)], workspace.store, workspace.folder, likelihoods=True)


def test_an_unknown_task_is_named_with_the_closest_ones(workspace, tmp_path):
    library = Library((tmp_path / "store" / "tasks",), tmp_path)
    # The harness' own tasks, whose index takes seconds.
    library.__dict__["_all"] = library._ours
    with pytest.raises(UserError, match=r"no task 'shipz'; did you mean ships\?"):
        library.leaves("shipz")


def test_examples_are_not_taken_from_the_questions(scored, workspace):
    leaking = CHOICE_TASK.replace("training_split: train", "fewshot_split: validation")
    workspace.store.write_bytes("tasks/ships.yaml", leaking.encode())
    put(workspace, "data/ships/validation.jsonl", ships(4))
    with pytest.raises(UserError, match="may show a question with its answer"):
        run_suites([suite({"task": "ships", "shots": 1})], scored, workspace)


def test_a_group_that_sets_its_own_examples_does_not_ignore_the_recipes(scored, workspace):
    group = "group: fleet\ntask:\n  - {task: ships, num_fewshot: 1}\n"
    workspace.store.write_bytes("tasks/fleet.yaml", group.encode())
    for split in ("train", "validation"):
        put(workspace, f"data/ships/{split}.jsonl", ships(4))
    with pytest.raises(UserError, match="group 'fleet' sets 1 examples for 'ships'"):
        run_suites([suite({"task": "fleet", "shots": 2})], scored, workspace)


def test_an_endpoint_gives_no_likelihoods(tokenizer, workspace):
    put(workspace, "data/ships/validation.jsonl", ships(2))
    with pytest.raises(UserError, match="which an endpoint does not tell"):
        run_suites([suite("ships")], answering(tokenizer, lambda prompt: "y"), workspace)
    with pytest.raises(UserError, match=r"task 'ships' .*\(multiple_choice\), which an endpoint"):
        check_suites([suite("ships")], workspace.store, workspace.folder, likelihoods=False)


def test_suites_without_a_mistake_pass_their_checks(workspace):
    for name in ("ships", "pages"):
        put(workspace, f"data/{name}/validation.jsonl", ships(2))
    check = partial(check_suites, store=workspace.store, folder=workspace.folder)
    names = {"task": "pages", "metrics": ["exact_match", "exact_match,none"]}
    check([suite(names)], likelihoods=False)
    # A task of the harness itself: only that its files are there is known.
    elsewhere = {"task": "piqa", "files": {"validation": "data/ships/*.jsonl"}}
    check([suite("ships", names, elsewhere)], likelihoods=True)
    with pytest.raises(UserError, match=r"suites.tasks.files: .*none.jsonl does not exist"):
        check([suite({"task": "piqa", "files": {"validation": "none.jsonl"}})], likelihoods=True)
    with pytest.raises(UserError, match=r"suites.allow_code_execution: .*humaneval_sandboxed"):
        check([suite("humaneval_sandboxed")], likelihoods=True)


def test_unknown_sampling_is_refused():
    from longspan.evaluate.suites.language_model import sampling_of

    assert sampling_of({"until": "\n", "max_tokens": 7}, "t").stop == ("\n",)
    assert sampling_of({"temperature": 0.8, "do_sample": True}, "t").temperature == 0.8
    with pytest.raises(UserError, match=r"generation_kwargs.num_beams is not supported"):
        sampling_of({"num_beams": 4}, "t")
