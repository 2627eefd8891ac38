"""Private interfaces of lm-eval."""

from pathlib import Path

from lm_eval import tasks
from lm_eval.api.task import ConfigurableTask
from lm_eval.filters import build_filter_ensemble

from longspan._compat.lm_eval import discard_requests, filter_names, read_task_file
from tests.compat.library_source import ClassSource


def test_a_task_file_has_functions_as_their_names() -> None:
    found = read_task_file(Path(tasks.__file__).parent / "mbpp" / "mbpp.yaml")
    assert found["task"] == "mbpp"
    functions = [each["metric"] for each in found["metric_list"]]
    assert all(isinstance(function, str) for function in functions)


def test_a_task_lists_its_filters() -> None:
    task = object.__new__(ConfigurableTask)
    task._filters = [build_filter_ensemble("none", [("take_first", None)])]
    assert filter_names(task) == ["none"]
    assert "_filters" in ClassSource("lm_eval.api.task", "Task").attributes()


def test_a_task_builds_its_requests_anew() -> None:
    task = object.__new__(ConfigurableTask)
    task._instances = built = []
    assert task.instances is built
    discard_requests(task)
    assert task.instances is None
