"""A whole run whose rows are shared by workers, from one recipe, without Ray."""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from torch import Tensor

from longspan.config.load import load
from longspan.config.locations import open_store
from longspan.errors import UserError
from longspan.history.check import Finding, check, compare
from longspan.history.starts import read_history
from longspan.model import attention_functions
from longspan.model.kernel_functions import Kernels
from longspan.model.kernels import KernelChoice
from longspan.observe.metrics import read_metrics
from longspan.recipe.schema import Recipe
from longspan.storage import Store
from longspan.train import loop, standalone
from longspan.train.data.corpora import ingest_of
from tests.fused import OVERWRITING, SwiGlu
from tests.in_process import ingest, main_of
from tests.jobs.project import write_corpora, write_recipe
from tests.ranks import RankServer
from tests.tiny import make_tiny_model

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

TOLERANCE = 1e-5  # relative; sums in another order


def ingest_corpora(recipe: str) -> None:
    loaded = load(Recipe, recipe)
    ingest(ingest_of(loaded, open_store(loaded)))


class Runs:
    """Runs of one recipe in one store."""

    def __init__(self, ranks: RankServer, folder: Path) -> None:
        self.ranks, self.store = ranks, Store(str(folder / "store"))
        self.recipe = folder / "recipe.yaml"
        write_corpora(folder / "store")
        model = make_tiny_model(folder / "base", tied=False, heads=4, kv_heads=2)
        write_recipe(self.recipe, self.store, model)
        done = ranks.run(1, ingest_corpora, str(self.recipe))
        assert done.returncode == 0, done.stderr[-3000:]

    def train(self, name: str, workers: int, degree: int, *overrides: str) -> str:
        """Run or resume it by so many workers; returns the output."""
        sizes = f"workers={{min: {workers}, max: {workers}, sequence_parallel: {degree}}}"
        arguments = [str(self.recipe), f"name={name}", sizes, *overrides]
        done = self.ranks.run(workers, standalone.main, arguments, timeout_s=300)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
        return done.stdout

    def records(self, name: str, kind: str) -> list[dict[str, Any]]:
        found = read_metrics(self.store, f"runs/{name}/metrics")
        return [record for record in found if record["kind"] == kind]

    def curve(self, name: str) -> list[float]:
        """Losses by update, of the last time that each was made."""
        made = {record["update"]: record["loss"] for record in self.records(name, "update")}
        return [made[update] for update in sorted(made)]

    def heldout(self, name: str) -> list[float]:
        return [record["loss"] for record in self.records(name, "heldout")]

    def history(self, name: str) -> Finding:
        return check(read_history(Store(f"{self.store.root}/runs/{name}")))


@pytest.fixture(scope="module")
def runs(ranks: RankServer, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    runs = Runs(ranks, tmp_path_factory.mktemp("shared"))
    runs.train("whole", 1, 1)
    return runs


@pytest.mark.parametrize(("workers", "degree"), [(2, 2), (4, 2), (4, 4)])
def test_the_run_is_that_of_one_worker(runs: Runs, workers: int, degree: int) -> None:
    name = f"shared-{workers}-{degree}"
    said = runs.train(name, workers, degree)
    assert f"each row is shared by {degree} workers" in said
    assert runs.curve(name) == pytest.approx(runs.curve("whole"), rel=TOLERANCE)
    assert runs.heldout(name) == pytest.approx(runs.heldout("whole"), rel=TOLERANCE)
    tokens = [record["tokens"] for record in runs.records(name, "update")]
    assert tokens == [record["tokens"] for record in runs.records("whole", "update")]
    found = runs.history(name)
    assert not found.faults
    assert found.starts == (workers,)
    assert len(found.rows) == len(runs.history("whole").rows)
    assert not compare(found, runs.history("whole"))


@pytest.mark.parametrize(("workers", "degree"), [(1, 1), (2, 2)])
def test_attention_without_a_mask_gives_the_same_run(runs: Runs, workers: int, degree: int) -> None:
    name = f"by-document-{degree}"
    said = runs.train(name, workers, degree, "training.attention=sdpa_by_document")
    assert "attention: sdpa_by_document (set in the recipe)" in said
    assert runs.curve(name) == pytest.approx(runs.curve("whole"), rel=TOLERANCE)
    assert runs.heldout(name) == pytest.approx(runs.heldout("whole"), rel=TOLERANCE)


def _train_with_wrong_attention(arguments: list[str]) -> int:
    """Train with attention whose scores have another scale than the one that it is given."""

    def unscaled(*args: Any, scaling: float, **kwargs: Any) -> Any:
        return attention_functions.sdpa_by_document(*args, **kwargs)

    attention_functions._FUNCTIONS["sdpa_by_document"] = unscaled
    return standalone.main(arguments)


def test_wrong_attention_ends_the_run_before_the_first_update(runs: Runs) -> None:
    arguments = [str(runs.recipe), "name=wrong", "training.attention=sdpa_by_document"]
    sizes = "workers={min: 1, max: 1}"
    done = runs.ranks.run(1, _train_with_wrong_attention, [*arguments, sizes], timeout_s=300)
    assert done.returncode != 0
    assert "training.attention: sdpa_by_document differs from SDPA on packed rows" in done.stderr
    assert not runs.records("wrong", "update")


def _train_with_kernels(kernels: Kernels, arguments: list[str]) -> int:
    """Train with kernels that would be chosen on a GPU."""
    chosen = KernelChoice("liger", "of a test")
    with (
        patch.object(loop, "choose_kernels", lambda *_: chosen),
        patch.object(loop, "load_kernels", lambda _: kernels),
    ):
        return standalone.main(arguments)


@pytest.mark.deep
def test_kernels_that_overwrite_their_inputs_give_the_same_run(runs: Runs) -> None:
    sizes = "workers={min: 2, max: 2, sequence_parallel: 2}"
    savers = [f"training.{key}=true" for key in ("activation_checkpointing", "tiled_mlp")]
    changes = ["name=kernels", sizes, "training.zero_stage=3", "training.mlp_tile=16", *savers]
    train = partial(_train_with_kernels, OVERWRITING)
    done = runs.ranks.run(2, train, [str(runs.recipe), *changes], timeout_s=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert "kernels: liger (of a test)" in done.stdout
    assert runs.curve("kernels") == pytest.approx(runs.curve("whole"), rel=TOLERANCE)
    assert runs.heldout("kernels") == pytest.approx(runs.heldout("whole"), rel=TOLERANCE)


@pytest.mark.deep
def test_a_wrong_kernel_ends_the_run_before_the_first_update(runs: Runs) -> None:
    wrong = replace(OVERWRITING, swiglu=wrong_swiglu)
    changes = ["name=wrong-kernel", "workers={min: 1, max: 1}"]
    train = partial(_train_with_kernels, wrong)
    done = runs.ranks.run(1, train, [str(runs.recipe), *changes], timeout_s=300)
    assert done.returncode != 0
    assert "training.kernels: overwriting differs from transformers' modules" in done.stderr
    assert not runs.records("wrong-kernel", "update")


def wrong_swiglu(gate: Tensor, up: Tensor) -> Tensor:
    return SwiGlu.apply(up, gate)


@pytest.mark.parametrize(
    ("before", "after"), [((4, 2), (4, 4)), ((2, 2), (3, 1)), ((1, 1), (4, 2))], ids=str
)
def test_another_degree_continues_the_run(
    runs: Runs, before: tuple[int, int], after: tuple[int, int]
) -> None:
    """The latest checkpoint is damaged, so that it starts again within its processes as well."""
    name = f"resumed-{before}-{after}".translate({ord(each): None for each in "(), "})
    runs.train(name, *before)
    (part, *_) = Path(runs.store.root, f"runs/{name}/checkpoints/update-0000012").glob(
        "*/*.safetensors"
    )
    damage(part)
    said = runs.train(name, *after)
    assert "going on from the checkpoint before" in said
    assert runs.curve(name) == pytest.approx(runs.curve("whole"), rel=TOLERANCE)
    assert runs.heldout(name)[-1] == pytest.approx(runs.heldout("whole")[-1], rel=TOLERANCE)
    found = runs.history(name)
    assert not found.faults
    assert not compare(found, runs.history("whole"))


def damage(part: Path) -> None:
    """Flip a bit of its last tensor."""
    data = bytearray(part.read_bytes())
    data[-5] ^= 1
    part.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            "workers={min: 3, max: 3, sequence_parallel: 3}",
            "rows of 64 tokens cannot be divided among 3",
        ),
        (
            "workers={min: 8, max: 8, sequence_parallel: 8}",
            "workers.sequence_parallel: 8 workers cannot share rows of 64 and 128 tokens in attention with 4 query "
            "heads and 2 key-value heads; the nearest possible degree: 4",
        ),
    ],
)
def test_a_degree_that_is_not_possible_is_refused(runs: Runs, change: str, told: str) -> None:
    with pytest.raises(UserError, match=re.escape(told)):
        main_of("pretrain")([str(runs.recipe), change, "--validate"])
