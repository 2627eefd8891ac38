"""Costs are the arithmetic that they say they are."""

from pathlib import Path

import pytest

from longspan.cluster.__main__ import main
from longspan.cluster.cost import problems, runs_of
from longspan.errors import UserError
from longspan.recipe.load import load_recipe
from tests.cluster.settings import settings

RECIPE = Path("jobs/recipes/llama3-8b-64k.yaml")


def test_tokens_a_second_follow_from_the_operations_of_a_token():
    (run,) = runs_of(load_recipe(RECIPE), settings("mfu=0.5"))
    # 6 x parameters and, at 65,536 tokens, 6 x layers x width x length for the causal half of the attention.
    per_token = 6 * 8030261248 + 6 * 32 * 4096 * 65536
    assert run.tokens_per_second == pytest.approx(64 * 989.5e12 * 0.5 / per_token)
    assert run.hours == pytest.approx(run.tokens / run.tokens_per_second / 3600)
    assert (run.workers, run.nodes, run.gpus) == (64, 8, 64)


def test_fewest_and_most_workers_are_counted_and_machines_are_whole():
    recipe = load_recipe(RECIPE, ["workers.min=12", "workers.gpus_per_worker=1"])
    few, many = runs_of(recipe, settings())
    assert [(run.workers, run.nodes) for run in (few, many)] == [(12, 2), (64, 8)]
    assert few.hours == pytest.approx(many.hours * 64 / 12)


def test_the_table_adds_up_and_both_kinds_of_values_can_be_changed(capsys):
    changed = ["pools.serving.min=1", "workers.max=32", "workers.min=32", "spot_goodput=0.5"]
    assert main(["cost", str(RECIPE), *changed]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert next(line for line in lines if line.startswith("all ")).split() == [
        "all",
        "2.06",
        "336.33",
    ]
    spot = next(line for line in lines if " spot  " in line and line.startswith("32"))
    hours, dollars = float(spot.split()[3]), float(spot.split()[4].replace(",", ""))
    assert dollars == pytest.approx(hours * (4 * 27.0 + 0.2016), rel=1e-3)
    assert f"{hours:.1f}" == f"{runs_of(load_recipe(RECIPE), settings())[0].hours * 2 / 0.5:.1f}"


def test_the_docs_say_what_the_command_does(capsys):
    assert main(["cost", str(RECIPE)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("64 ")]
    docs = Path("docs/cluster.md").read_text()
    for _, tokens, market, hours, dollars, *machines in rows:
        price = machines[4].rstrip(",")
        row = f"| {market} | 8 x p5.48xlarge at {price} an hour | {tokens} | {hours} | {dollars} |"
        assert row in docs
    assert len(rows) == 2


def test_what_the_cluster_cannot_hold_or_reach_is_an_error(capsys):
    more = ["workers.max=128", "storage.root=s3://elsewhere/x", "corpora.web.path=s3://web/x"]
    assert main(["cost", str(RECIPE), *more]) == 2
    told = capsys.readouterr().err
    assert "takes up to 128 workers, and there is room for 80" in told
    assert (
        "storage.root: 's3://elsewhere/x' is not in a bucket that the settings let machines write"
        in told
    )
    assert (
        "corpora.web.path: 's3://web/x' is not in a bucket that the settings let machines read"
        in told
    )


def test_a_prefix_is_a_folder():
    recipe = load_recipe(RECIPE, ["storage.root=s3://your-bucket/longspanned"])
    assert len(problems(recipe, settings())) == 1
    recipe = load_recipe(RECIPE, ["storage.root=s3://your-bucket/longspan/deeper/"])
    assert problems(recipe, settings()) == []


@pytest.mark.parametrize(
    ("ours", "recipes", "message"),
    [
        ((), ("architecture=null",), "architecture: needed for the cost"),
        ((), ("workers.gpus_per_worker=9",), "one takes 9 GPUs .* p5.48xlarge .* has 8 and 192"),
        ((), ("workers.gpus_per_worker=0",), "workers.gpus_per_worker: 0"),
        (
            (
                "instances={x1: {vcpus: 9, memory: 9, gpus: 1, gpu: X1, gpu_memory: 9, on_demand: 1, spot: 1}}",
                "pools.training.type=x1",
            ),
            (),
            "pools.training.type: no bf16 peak is known for NVIDIA X1",
        ),
    ],
)
def test_what_cannot_be_computed_says_why(ours, recipes, message):
    with pytest.raises(UserError, match=message):
        runs_of(load_recipe(RECIPE, recipes), settings(*ours))
