"""Distribution of a session's tests over the processes of pytest-xdist.

`make test` runs two processes, one for each of the two cores that a machine needs. Tests that share a service are in
one group, and a group runs in one process: otherwise both would start the service. Groups that take longest come
first, so that the modules of unit tests fill what is left of either process.
"""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED_RAY = "ray"
"""Group of most real tests, which use the Ray of `tests/conftest.py`; it starts first."""

GROUPS = (
    # (folder or module below tests/, group); the first that matches
    ("chaos", "chaos"),
    ("train/test_fallback.py", SHARED_RAY),
    ("train", "ranks"),
    ("model", "ranks"),
    ("compat/test_deepspeed.py", "ranks"),
    ("storage", "s3"),  # in the process that has had `chaos`, whose S3 server still runs
    ("page", "page"),
    ("cluster", "clusters"),
)  # fmt: skip
"""Groups of other real tests, in the order in which they start."""


def group_of(path: str, *, real: bool) -> str:
    """Group of a test.

    Args:
        path: module of the test, relative to `tests/`.
        real: whether it starts real components; each module of other tests is a group.
    """
    if not real:
        return path
    folders = {path, *map(str, Path(path).parents)}
    return next((group for folder, group in GROUPS if folder in folders), SHARED_RAY)


def position(group: str) -> int:
    """Position of a group in the order in which groups start; modules of unit tests come last."""
    order = list(dict.fromkeys([SHARED_RAY, *(group for _, group in GROUPS)]))
    return order.index(group) if group in order else len(order)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark each test with its group and put the groups in order, in a process of pytest-xdist."""
    if not hasattr(config, "workerinput"):
        return
    tests = Path(__file__).parent
    groups = {}
    for item in items:
        path = item.path.relative_to(tests).as_posix()
        groups[item] = group_of(path, real=item.get_closest_marker("real") is not None)
        item.add_marker(pytest.mark.xdist_group(groups[item]))
    items.sort(key=lambda item: position(groups[item]))
