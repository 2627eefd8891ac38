"""Tasks that the harness brings, whose index takes seconds to load."""

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from longspan.errors import UserError
from longspan.evaluate.suites.library import OWN, Library
from longspan.evaluate.suites.presets import preset_tasks
from longspan.evaluate.suites.run import run_suites
from longspan.evaluate.suites.schema import Preset
from longspan.evaluate.suites.settings import settings_over
from tests.evaluate.suites.made_suites import put, suite


@pytest.fixture(scope="module")
def all_tasks() -> Any:
    """The harness' own tasks too, whose index takes seconds."""
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=OWN, include_defaults=True)


@pytest.fixture
def harness(all_tasks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Library, "_all", all_tasks)


@pytest.mark.deep
def test_tasks_of_the_harness_run_on_files_one_by_one_and_in_groups(harness, scored, workspace):
    truth = {
        "question": "Which ship came first?",
        "mc1_targets": {"choices": ["the storm", "the tide"], "labels": [1, 0]},
        "mc2_targets": {"choices": ["the storm", "a tide", "none"], "labels": [1, 1, 0]},
    }
    for name in ("mc1", "mc2"):
        put(workspace, f"data/truthfulqa_{name}/validation.jsonl", [truth] * 2)
    question = {"question": "2 + 2?", "choices": ["1", "2", "3", "4"], "answer": 3, "subject": "x"}
    members = Library((), workspace.folder).leaves("mmlu_stem")
    for member in members:
        put(workspace, f"data/{member}/test.jsonl", [question] * 2)
        put(workspace, f"data/{member}/dev.jsonl", [question | {"question": "1 + 1?"}] * 3)
    tasks = suite(
        "truthfulqa_mc1", "truthfulqa_mc2", {"task": "mmlu_stem", "shots": 2, "metrics": ["acc"]}
    )
    model = replace(scored, window=10**6)
    run = run_suites([tasks], model, workspace)
    found = {result.task: result for result in run.results}
    assert found.keys() == {"truthfulqa_mc1", "truthfulqa_mc2", "mmlu_stem"}
    assert found["mmlu_stem"].n == 2 * len(members) == 38
    assert found["mmlu_stem"].shots == 2
    assert {result.value is None for result in run.results} == {False}
    assert found["mmlu_stem"].stderr is not None


@pytest.mark.deep
def test_own_tasks_take_no_name_of_the_harness(all_tasks):
    import lm_eval.tasks
    from lm_eval.tasks import TaskManager

    own = TaskManager(include_path=OWN, include_defaults=False).all_tasks
    assert len(own) == len(list(OWN.glob("[!_]*.yaml")))
    theirs = Path(lm_eval.tasks.__file__).parent
    for name in own:
        # A name that both have is an own task here, and is another one in the harness.
        assert not list(theirs.glob(f"**/{name}.yaml")), name
    assert set(own) < set(all_tasks.all_tasks)


@pytest.mark.deep
def test_presets_are_of_tasks_that_exist_and_have_their_metrics(harness, tmp_path):
    library = Library((), tmp_path)
    for task in [each for name in get_args(Preset) for each in preset_tasks(name)]:
        for leaf in library.leaves(task.task):
            config = library.config(leaf)
            evaluated = config.get("test_split") or config["validation_split"]
            splits = {evaluated, config.get("training_split"), config.get("fewshot_split")}
            examples = (config.get("fewshot_config") or {}).get("split")
            files = {str(split): ["a.jsonl"] for split in {*splits, examples}}
            assert settings_over(task, leaf, config, files, tmp_path)["num_fewshot"] == task.shots
            known = {each["metric"] for each in config["metric_list"]}
            known |= {f"{name},strict-match" for name in known}
            assert set(task.metrics) <= known, leaf
            is_sandboxed = (config.get("metadata") or {}).get("sandboxed", False)
            assert bool(config.get("unsafe_code")) == is_sandboxed, leaf


@pytest.mark.deep
def test_a_task_of_the_harness_without_files_asks_for_them_where_there_is_no_hub(
    harness, scored, workspace
):
    with pytest.raises(UserError, match=r"'piqa' could not be loaded .*: give the data as `files`"):
        run_suites([suite("piqa", data=None)], scored, workspace)
