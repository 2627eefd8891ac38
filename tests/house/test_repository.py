import platform as standard_platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted([*ROOT.glob("tools/*.sh"), ROOT / "env.sh", ROOT / ".ci" / "run"])


def tracked_files() -> list[Path]:
    """What git tracks or would, or every file where this is no checkout."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a git checkout")
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    return [path for name in listed.decode().split("\0") if (path := ROOT / name).is_file()]


def test_the_standard_platform_module_works_from_the_root():
    program = "import platform; print(platform.system())"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == standard_platform.system()
    assert not (ROOT / "platform" / "__init__.py").exists()


def test_no_file_names_a_package_registry():
    hosts = [rb"pypi\.org", rb"pythonhosted\.org", rb"npmjs\.(org|com)", rb"debian\.org"]
    hosts += [rb"pytorch\.org", rb"anaconda\.(org|com)", rb"ubuntu\.com"]
    named = re.compile(b"|".join(rb"\b" + host for host in hosts))
    # The patterns above have a backslash where a host has none.
    assert [str(path) for path in tracked_files() if named.search(path.read_bytes())] == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_parse(script: Path):
    subprocess.run(["bash", "-n", script], check=True)


def test_scripts_that_make_calls_can_be_executed():
    called = set(re.findall(r"@(tools/\S+\.sh)", (ROOT / "Makefile").read_text()))
    assert len(called) >= 7
    assert [name for name in sorted(called) if not (ROOT / name).stat().st_mode & 0o100] == []


def test_make_and_ci_name_only_what_there_is():
    makefile, ci = ((ROOT / name).read_text() for name in ("Makefile", ".ci/run"))
    script = (ROOT / "tools" / "check.sh").read_text()
    called = re.findall(r"@tools/check\.sh (\S+)", makefile)
    assert set(called) == set(re.findall(r"^    ([a-z-]+)\)", script, flags=re.MULTILINE))
    phony = re.search(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE)
    targets = re.findall(r"^([a-z0-9-]+):", makefile, flags=re.MULTILINE)
    assert phony and sorted(phony[1].split()) == sorted(targets)
    assert set(re.findall(r"make --no-print-directory (\S+)", ci)) <= set(targets)


def test_what_the_commands_create_is_ignored_by_git():
    tracked_files()
    created = [
        ".venv/bin/python",
        ".cache/pip/x",
        ".longspan/store/x",
        "platform/longspan.egg-info/x",
    ]
    done = subprocess.run(
        ["git", "check-ignore", *created], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == created


def test_the_files_to_read_first_are_there():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = re.findall(r"^\d\. `([^`]+)`", text, flags=re.MULTILINE)
    assert len(named) == 5
    assert [name for name in named if not (ROOT / name).is_file()] == []
