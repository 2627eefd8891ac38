"""The rules for test sessions, on sessions of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services import BUDGET, COMMANDS, Kind, ServiceCounter, kind_of
from tests.session_rules import is_expected

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("ray start --head --block --port=1", "Ray head"),
        ("/x/.venv/bin/python -m ray.scripts.scripts start --block --head --port=1", "Ray head"),
        ("python -m ray.scripts.scripts start --block --address=127.0.0.1:1", "Ray node"),
        ("python -m ray.scripts.scripts drain-node --address=127.0.0.1:1", None),
        ("python -u jobs/pretrain.py recipe.yaml name=x", "driver"),
        ("ray job submit --address http://x -- python jobs/sft.py recipe.yaml", "driver"),
        ("python jobs/pipeline.py pipeline.yaml --plan a=b", None),
        ("python jobs/pretrain.py recipe.yaml --validate", None),
        ("python -P -u -m longspan sft recipe.yaml", "driver"),
        ("/x/bin/longspan pretrain recipe.yaml --plan", None),
        ("python -m tests.runtime.device workers.pool=data", "driver"),
        ("python -m torch.distributed.run --standalone -m longspan.train.standalone x", "torchrun"),
        ("python -m longspan.train.standalone --sft x.yaml", "rank group"),
        ("python -m longspan.serve deploy --config x", "service command"),
        ("python -m longspan.serve rollback --config x", "service command"),
        ("python -m longspan.serve status --config x", None),
        ("longspan serve deploy model=x", "service command"),
        ("bash -c exec python -m vllm.entrypoints.openai.api_server --host 127.0.0.1", "vLLM engine"),
        ("python -c import json\n\nfrom vllm import LLM\n", "vLLM engine"),
        ("/x/.venv/bin/weed mini -dir=/tmp/x", "S3 server"),
        ("/x/playwright/driver/node /x/playwright/driver/package/cli.js run-driver", "browser"),
        ("/usr/bin/prometheus --config.file=x", "Prometheus"),
        ("git ls-files", None),
    ],
)  # fmt: skip
def test_commands_are_recognized(command: str, kind: Kind | None) -> None:
    assert kind_of(command) == kind


def test_the_budget_names_every_kind() -> None:
    assert set(BUDGET) == {kind for kind, _ in COMMANDS}


def test_a_kind_that_the_budget_does_not_name_may_not_be_started() -> None:
    services = ServiceCounter()
    services.counts.update({"driver": 3, "Ray head": 1, "S3 server": 1})
    assert [each.partition(";")[0] for each in services.over({"driver": 2, "Ray head": 1})] == [
        "S3 server: 1 started, the budget is 0",
        "driver: 3 started, the budget is 2",
    ]


def test_tests_skip_for_the_expected_reasons() -> None:
    """A reason that has been reworded is no longer expected: this test shows it outside CI as well."""
    assert is_expected("pip install kubernetes-validate: Kubernetes' own schemas, 108 MB")
    assert is_expected("LONGSPAN_KUBERAY_CRDS names no folder with KubeRay's CRDs; docs/")
    assert is_expected("no bits are on record for torch 2.13.0+cpu, AVX2, CPU; python -m")
    assert not is_expected("no Chromium on PATH; on Debian it is the package chromium")


CONFTEST = """
from tests import session_rules
from tests.session_rules import pytest_addoption, pytest_configure
session_rules.BUDGET = {"driver": 1, "rank group": 0}
"""
SKIPS = """
import pytest
def test_passes(): pass
@pytest.mark.skip(reason="pip install kubernetes-validate: later")
def test_expected(): pass
@pytest.mark.skipif(True, reason="only root can do this")
def test_unexpected(): pass
def test_in_its_body(): pytest.skip("no Chromium on PATH")
@pytest.mark.xfail
def test_fails_as_expected(): assert False
"""
SERVICES = """
import pathlib, subprocess, sys
from tests.services import started
def test_starts():
    quiet = [sys.executable, b"-c", "pass", pathlib.Path("jobs/pretrain.py")]
    subprocess.run(quiet, check=True)
    subprocess.run("true jobs/sft.py", shell=True, check=True)
    started("rank group")
"""


def session(folder: Path, test: str, *options: str) -> subprocess.CompletedProcess[str]:
    """A pytest session over one file, with the rules and a small budget."""
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_it.py").write_text(test)
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )


def test_a_session_with_an_unexpected_skip_fails(tmp_path: Path) -> None:
    done = session(tmp_path, SKIPS, "--no-unexpected-skips", "--service-budget")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    errors = [line for line in done.stdout.splitlines() if line.startswith("error: ")]
    assert [line.partition(";")[0] for line in errors] == [
        "error: test_it.py::test_unexpected: skipped (only root can do this)",
        "error: test_it.py::test_in_its_body: skipped (no Chromium on PATH)",
    ]
    assert "services started" not in done.stdout


def test_a_module_that_skips_itself_is_an_unexpected_skip(tmp_path: Path) -> None:
    module = "import pytest\npytest.importorskip('no_such_package_anywhere')\n"
    done = session(tmp_path, f"{module}def test(): pass\n", "--no-unexpected-skips")
    assert "error: test_it.py: skipped (could not import 'no_such_package_anywhere'" in done.stdout
    assert done.returncode != 0, done.stdout


def test_a_session_that_starts_too_much_fails(tmp_path: Path) -> None:
    done = session(tmp_path, SERVICES, "--service-budget")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    assert "services started: driver 2, rank group 1" in done.stdout
    assert "error: driver: 2 started, the budget is 1; share" in done.stdout
    assert "error: rank group: 1 started, the budget is 0; share" in done.stdout


def test_a_session_without_the_options_only_reports(tmp_path: Path) -> None:
    done = session(tmp_path, SERVICES + SKIPS)
    assert done.returncode == 0, done.stdout
    assert "services started: driver 2, rank group 1" in done.stdout
    assert "error: " not in done.stdout


def test_two_processes_are_judged_as_one_session(tmp_path: Path) -> None:
    module = "import pytest\npytest.importorskip('no_such_package_anywhere')\n"
    (tmp_path / "test_skipped.py").write_text(f"{module}def test(): pass\n")
    twice = SERVICES + "def test_starts_again(): started('rank group')\n"
    done = session(tmp_path, twice + SKIPS, "--no-unexpected-skips", "--service-budget", "-n2")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    assert "services started: driver 2, rank group 2" in done.stdout
    errors = [line for line in done.stdout.splitlines() if line.startswith("error: ")]
    assert sorted(line.partition(";")[0] for line in errors) == [
        "error: driver: 2 started, the budget is 1",
        "error: rank group: 2 started, the budget is 0",
        "error: test_it.py::test_in_its_body: skipped (no Chromium on PATH)",
        "error: test_it.py::test_unexpected: skipped (only root can do this)",
        "error: test_skipped.py: skipped (could not import 'no_such_package_anywhere': "
        "No module named 'no_such_package_anywhere')",
    ]


GROUPS = """
import os, pytest
@pytest.mark.xdist_group("first")
@pytest.mark.parametrize("number", range(6))
def test_it(number):
    with open("processes", "a") as file:
        file.write(os.environ["PYTEST_XDIST_WORKER"] + "\\n")
def test_another(): pass
"""


def test_tests_of_a_group_run_in_one_process(tmp_path: Path) -> None:
    """pytest-xdist 3.8.0 ignores groups under pytest 9.2, without a message."""
    done = session(tmp_path, GROUPS, "-n2", "--dist=loadgroup")
    assert done.returncode == 0, done.stdout
    processes = (tmp_path / "processes").read_text().split()
    assert len(processes) == 6
    assert len(set(processes)) == 1
