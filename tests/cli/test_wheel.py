"""The wheel: built offline, and used in an empty folder by an interpreter that sees nothing of the checkout."""

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from longspan.cli.packaged import recipe_names
from tests.jobs.project import Project, said
from tests.nodes import Cluster, environment

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "platform" / "longspan"
NOT_OURS = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")

pytestmark = [pytest.mark.real, pytest.mark.deep]


def interpreter(folder: Path) -> Path:
    """Make an environment with all packages of this one but longspan; its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    packages = folder / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    # A .pth file names a folder, whose own .pth files (that of the editable install) are not read.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "bin" / "python"


def pip(*words: object) -> None:
    offline = ["--no-deps", "--no-index", "--quiet", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", *map(str, words), *offline]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # Setuptools writes beside what it builds.
    shutil.copytree(ROOT / "platform", folder / "source" / "platform", ignore=NOT_OURS)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source")
    pip("wheel", "--no-build-isolation", "--wheel-dir", folder, folder / "source")
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def longspan(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed command."""
    python = interpreter(tmp_path_factory.mktemp("installed") / "env")
    pip("--python", python, "install", wheel)
    return python.with_name("longspan")


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder as the current one, and nothing of the checkout on any path."""
    monkeypatch.delenv("PYTHONPATH")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    return tmp_path / "empty"


def run(*words: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, words)], env=env, capture_output=True, text=True, timeout=280)


def test_the_wheel_has_every_file_of_the_package(wheel: Path) -> None:
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("longspan/")}
    files = (path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc")
    assert packed == {str(path.relative_to(PACKAGE.parent)) for path in files}
    assert "longspan/py.typed" in packed


def test_the_command_works_in_an_empty_folder(longspan: Path, empty: Path) -> None:
    place = run(longspan.with_name("python"), "-c", "import longspan; print(longspan.__file__)")
    assert place.stdout.startswith(str(longspan.parents[1]))
    assert run(longspan, "--version").stdout.startswith("longspan, version ")
    listed = run(longspan, "recipes", "list").stdout.splitlines()
    assert [line.split()[0] for line in listed] == list(recipe_names())

    assert run(longspan, "recipes", "copy", "pipeline/quickstart", "my.yaml").returncode == 0
    plan = run(longspan, "pipeline", "my.yaml", "--plan")
    assert plan.returncode == 0, plan.stderr
    assert "longspan sft " in plan.stdout and plan.stdout.count("to be run") == 5
    missing = run(longspan, "pretrain", "--validate")
    assert missing.returncode == 2
    assert missing.stderr.startswith("error: base_model: there is no model")
    config = run(longspan, "serve", "keys", "list", "--store", empty / "store")
    assert config.returncode == 0 and "no keys in" in config.stdout
    checked = run(longspan, "doctor")
    assert f" in {longspan.parents[1]}" in checked.stdout, said(checked)


def test_a_job_takes_the_package_along_to_a_cluster_that_lacks_it(
    longspan: Path, empty: Path, tiny_model: Path
) -> None:
    python = interpreter(empty.with_name("nodes"))
    assert run(python, "-c", "import ray, longspan").returncode == 1
    project = Project(empty, tiny_model, dashboard="")
    cluster = Cluster(python=str(python))
    try:
        # One CPU for the training worker, one for Ray Data.
        cluster.add("a")
        cluster.add("b")
        done = run(
            longspan, "pretrain", "recipe.yaml", "training.tokens=1536", env=environment(cluster)
        )
    finally:
        cluster.close()
    assert done.returncode == 0, said(done)
    assert project.store.exists("runs/tiny/exported.json")
    history = run(longspan, "check-history", empty / "store" / "runs" / "tiny")
    assert (history.returncode, "one undisturbed run" in history.stdout) == (0, True)
    exported = run(longspan, "export", "store/runs/tiny", "--to", "model")
    assert exported.returncode == 0, said(exported)
    assert (empty / "model" / "model.safetensors").exists()
