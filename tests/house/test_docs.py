"""Commands, links and recipes in README and docs work."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from longspan.cluster.__main__ import main as cluster
from longspan.config.load import parse
from longspan.evaluate.schema import EvaluateRecipe
from longspan.evaluate.suites.presets import tasks_of
from longspan.recipe.load import parse_recipe
from longspan.recipe.sft import SftRecipe
from longspan.train.summary import FETCHED_MODELS
from tools import head

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(), re.MULTILINE)
            assert anchor in {_anchor(heading) for heading in headings}, target


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_scripts_and_recipes_that_are_named_are_there(page: Path) -> None:
    named = re.findall(
        r"(?<![\w/.])((?:jobs|cluster|tools|tests|benchmarks)/[\w/.-]+\.\w+)",
        page.read_text(),
    )
    assert not [name for name in named if not (ROOT / name).exists()]


def test_the_cost_of_the_shipped_recipe_is_printed_with_the_shipped_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    (line,) = re.findall(
        r"^python -m longspan\.cluster (cost .*?)  ", (ROOT / "docs/cluster.md").read_text(), re.M
    )
    assert cluster(shlex.split(line)) == 0


def test_recipes_in_the_docs_are_valid() -> None:
    (readme, *_) = blocks(ROOT / "README.md", "yaml")
    assert parse_recipe(yaml.safe_load(readme)).name == "my-run"
    (finetuning, *_) = blocks(ROOT / "docs/sft.md", "yaml")
    parse(SftRecipe, {"name": "x", "target_context": 32768} | yaml.safe_load(finetuning))


def test_evaluations_in_the_docs_are_valid() -> None:
    recipe, _, suites = blocks(ROOT / "docs/evaluate.md", "yaml")
    stated = yaml.safe_load(recipe) | yaml.safe_load(suites)
    found = parse(EvaluateRecipe, stated).suites
    tasks = [task.task for suite in found for task in tasks_of(suite)]
    assert "mmlu" in tasks and "paper_qasper" in tasks
    # Neither packages that are not installed nor a setting that the example has not are needed.
    assert not [task for task in tasks if task == "minerva_math" or task.endswith("_sandboxed")]


def test_prometheus_looks_where_make_head_leaves_its_list() -> None:
    config = yaml.safe_load((ROOT / "cluster/prometheus.yml").read_text())
    (scrape,) = config["scrape_configs"]
    found = {(ROOT / "cluster" / each).resolve() for each in scrape["file_sd_configs"][0]["files"]}
    # Prometheus starts relative paths at the folder of its configuration.
    assert head.STATE / "t" / "session_latest" / "prom_metrics_service_discovery.json" in found


def test_what_a_run_fetches_and_writes_is_not_uploaded() -> None:
    ignored = (ROOT / ".rayignore").read_text().splitlines()
    assert f"/{Path(FETCHED_MODELS).parts[0]}/" in ignored
    assert {"*.safetensors", "*.parquet", "/.venv/", "/.cache/"} <= set(ignored)
