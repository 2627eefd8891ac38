import os
import shutil
import subprocess
from pathlib import Path

import pytest

CLEAN = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
OUTSIDE = ("PATH", "HOME", "PWD", "OLDPWD", "SHLVL", "_")


def sourced(shell: str, checkout: Path, cwd: Path, **given: str) -> dict[str, str]:
    """The variables of a shell in `cwd` that has sourced env.sh."""
    where = "./env.sh" if cwd == checkout else str(checkout / "env.sh")
    done = subprocess.run(
        [shell, "-c", f". {where} && env"],
        cwd=cwd,
        env=CLEAN | given,
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


@pytest.mark.parametrize(("shell", "elsewhere"), [("bash", True), ("zsh", True), ("sh", False)])
def test_any_shell_gets_the_environment_and_caches_inside_the_checkout(
    shell, elsewhere, checkout, tmp_path
):
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    got = sourced(shell, checkout, tmp_path if elsewhere else checkout)
    assert got["PATH"].split(":")[0] == f"{checkout}/.venv/bin"
    assert got["RAY_AUTH_MODE"] == "token"
    folders = {name: value for name, value in got.items() if value.startswith("/")}
    outside = {
        name: value
        for name, value in folders.items()
        if name not in OUTSIDE and not value.startswith(str(checkout))
    }
    assert outside == {}
    assert len(folders) > 15


def test_it_points_at_the_head_that_is_recorded_and_at_none_otherwise(checkout):
    given = {"RAY_ADDRESS": "10.0.0.1:6379", "RAY_API_SERVER_ADDRESS": "http://10.0.0.1:8265"}
    assert "RAY_ADDRESS" not in sourced("bash", checkout, checkout, **given)
    record = checkout / ".longspan" / "ray" / "head.env"
    record.parent.mkdir(parents=True)
    record.write_text("export RAY_ADDRESS=127.0.0.1:7000\n")
    assert sourced("bash", checkout, checkout, **given)["RAY_ADDRESS"] == "127.0.0.1:7000"


def test_the_caches_can_be_moved_and_the_hub_folder_kept(checkout, tmp_path):
    got = sourced("bash", checkout, checkout, LONGSPAN_CACHE="/large", HF_HOME="/shared/hf")
    assert (got["PIP_CACHE_DIR"], got["HF_HOME"]) == ("/large/pip", "/shared/hf")


def test_setup_says_which_step_failed_and_why(checkout):
    (checkout / ".venv").unlink()
    done = subprocess.run(
        ["tools/setup.sh"],
        cwd=checkout,
        env=CLEAN | {"PYTHON": "/bin/false"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert 'FAILED in step "setup": PYTHON=/bin/false is not a Python 3.11' in done.stderr


def test_help_names_every_target(checkout):
    done = subprocess.run(["make"], cwd=checkout, capture_output=True, text=True, check=True)
    makefile = (checkout / "Makefile").read_text()
    targets = next(line for line in makefile.splitlines() if line.startswith(".PHONY:")).split()[1:]
    assert [name for name in targets if f"  {name} " not in done.stdout] == []
