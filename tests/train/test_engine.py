"""The same recipe gives the same losses for every ZeRO stage, number of workers and micro-batch."""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from longspan.model.load import load_model
from longspan.model.loss import CausalLMLoss
from longspan.plan.device import this_machines_device
from longspan.plan.savers import Savers
from longspan.stream.batch import Batch
from tests.ranks import RankServer
from tests.tiny import make_tiny_model
from tests.train import engine_worker
from tests.train.engine_worker import (
    CASES,
    LENGTH,
    POSITIONS,
    SCHEDULE,
    UPDATES,
    WEIGHTS,
    Case,
    batch_of,
)

GOLDEN = Path(__file__).parent / "golden_losses.json"
TOLERANCE = 2e-6  # relative; fp32 sums in another order
GOLDEN_TOLERANCE = 1e-6  # relative; fp32 sums in the same order by another CPU's instructions
BF16_TOLERANCE = 3e-3  # relative, against fp32: 8 bits of mantissa in weights and activations

pytestmark = pytest.mark.real


PLAIN = Case(1, 1)
DIVIDED = [PLAIN, Case(1, 2, 2), Case(2, 2), Case(2, 1, 5), Case(3, 1, 2), Case(3, 2)]
WEIGHTED = [replace(case, weights=name) for name in WEIGHTS for case in (Case(1, 1, 5), Case(3, 2))]
BF16 = [
    replace(case, precision="bf16")
    for case in (Case(2, 1, 2), Case(2, 2, 2), Case(3, 2, 2), Case(3, 2, 2, degree=2))
]
# One worker and two, with as many rows at a time.
BF16_WORKERS = [
    (Case(stage, 1, precision="bf16"), Case(stage, 2, precision="bf16")) for stage in (2, 3)
]
GRADIENTS = [Case(stage, 2, precision="bf16", measures_gradient=True) for stage in (2, 3)]
# Three workers: their mean of bf16 gradients is no bf16 number.
THIRDS = [replace(case, workers=3) for case in GRADIENTS]
ROUNDED = [
    *(replace(case, bf16_gradients=True) for case in GRADIENTS),
    *(replace(case, communication="bf16") for case in GRADIENTS),
]
EARLIER = replace(Case(1, 2, precision="bf16"), bf16_gradients=True, saves=True)
RESIZED = [
    replace(loaded, loads=replace(saved, saves=True))
    for saved, loaded in (
        (Case(1, 2), Case(1, 1)),
        (Case(1, 1), Case(1, 2)),
        (Case(2, 2), Case(1, 4)),
        (Case(3, 4), Case(2, 3)),
        (Case(1, 1), Case(3, 2)),
        (Case(3, 2), Case(3, 3)),
    )
]
CONTINUED = [
    replace(case, loads=replace(case, saves=True))
    for case in (
        Case(2, 2),
        Case(2, 2, precision="bf16", dropout=0.1),
        Case(3, 2, precision="bf16"),
    )
]
SKIPPING = [
    Case(1, 2, overflow=2),
    Case(2, 2, precision="bf16", overflow=2),
    Case(3, 2, refuse=2),
    Case(2, 2, precision="bf16", refuse=2),
]
SHARED = [
    Case(1, 2, degree=2),
    Case(2, 2, 5, degree=2),
    Case(3, 2, degree=2, checkpointing=True),
    Case(1, 4, degree=2),
    Case(2, 4, 2, degree=2, checkpointing=True),
    Case(3, 4, degree=2),
    Case(3, 2, 2, degree=2, kernel="flash"),
    Case(1, 2, degree=2, heads=4),
    Case(2, 4, degree=4, heads=4),
    Case(3, 4, 2, degree=4, heads=4, checkpointing=True),
    Case(3, 4, 2, degree=4, heads=4, kernel="flash", checkpointing=True),
    Case(3, 2, degree=2, weights="per_sequence"),
    Case(1, 4, degree=2, weights="per_token"),
    Case(2, 4, degree=4, heads=4, weights="per_sequence"),
]
FORGETFUL = Case(1, 2, degree=2, forgets=True)
RESHARED = [
    replace(loaded, loads=replace(saved, saves=True), heads=4)
    for saved, loaded in (
        (Case(1, 4, degree=2, heads=4), Case(3, 4, degree=4)),
        (Case(3, 4, degree=2, heads=4), Case(2, 2)),
        (Case(2, 1, heads=4), Case(3, 2, degree=2)),
        (Case(3, 4, degree=4, heads=4), Case(2, 2, degree=2)),
    )
]
FROM_EARLIER = [Case(stage, 2, precision="bf16", loads=EARLIER) for stage in (2, 3)]
PARTLY_FROZEN = [
    replace(loaded, loads=replace(saved, saves=True, frozen=True), frozen=True)
    for saved, loaded in (
        (Case(2, 2), Case(3, 3)),
        (Case(3, 2), Case(1, 1, 5)),
        (Case(1, 3), Case(2, 2)),
        (Case(3, 3), Case(3, 2, savers=("tiled_mlp",))),
        (Case(2, 2, precision="bf16"), Case(3, 2, precision="bf16")),
    )
]
SAVERS = tuple(field.name for field in fields(Savers))
BELOW_STAGE_3 = SAVERS[:-1]
HEADWISE = [
    replace(case, savers=("headwise_attention",))
    for case in (
        Case(1, 2, degree=2),
        Case(2, 4, 2, degree=2, heads=4, checkpointing=True, kernel="flash"),
        Case(3, 4, degree=4, heads=4),
        Case(1, 1, 2, heads=4),
    )
]
EVERY_SAVER = Case(3, 2, savers=SAVERS, saves=True)
PLAIN_AFTER_SAVERS = Case(1, 1, loads=EVERY_SAVER)
LOADING = [
    *RESIZED,
    *CONTINUED,
    *RESHARED,
    *FROM_EARLIER,
    *PARTLY_FROZEN,
    PLAIN_AFTER_SAVERS,
]
SAVING = [case.loads for case in LOADING if case.loads]
ALL = [
    *DIVIDED,
    *WEIGHTED,
    *BF16,
    *itertools.chain(*BF16_WORKERS),
    *(replace(case, bf16_gradients=True) for pair in BF16_WORKERS for case in pair),
    *GRADIENTS,
    *THIRDS,
    *ROUNDED,
    *SKIPPING,
    *SHARED,
    *HEADWISE,
    FORGETFUL,
    *SAVING,
    *LOADING,
]
ONE_SAVER = [
    Case(stage, workers, micro_batch, savers=(saver,))
    for saver in SAVERS
    for stage, workers, micro_batch in ((1, 1, 2), (1, 2, 1), (2, 2, 2), (3, 1, 2), (3, 2, 1))
    if stage == 3 or saver != "offload_parameters"
]
SEVERAL_SAVERS = [
    Case(1, 2, 2, savers=BELOW_STAGE_3),
    Case(2, 1, savers=BELOW_STAGE_3),
    Case(3, 1, 5, savers=SAVERS),
    Case(3, 2, savers=SAVERS, loads=Case(1, 1, saves=True, micro_batch=2)),
    Case(3, 2, savers=SAVERS, loads=EVERY_SAVER),
    Case(3, 2, degree=2, savers=SAVERS),
]
SKIPPING_SAVERS = [
    Case(2, 2, savers=BELOW_STAGE_3, overflow=2),
    Case(3, 2, savers=SAVERS, overflow=2),
    Case(3, 2, savers=SAVERS, refuse=2),
]
BF16_SAVERS = [
    Case(2, 2, 2, precision="bf16", savers=BELOW_STAGE_3),
    Case(3, 2, 2, precision="bf16", savers=SAVERS),
    Case(3, 1, 5, precision="bf16", savers=("tiled_mlp",)),
]
DEEP = [*ONE_SAVER, *SEVERAL_SAVERS, *SKIPPING_SAVERS, *BF16_SAVERS, SEVERAL_SAVERS[3].loads]
"""Cases of deep tests, which are not trained together with the others."""

Trained = Callable[[Case], dict[str, Any]]


def train(
    ranks: RankServer, models: Mapping[int, Path], folder: Path, cases: Sequence[Case]
) -> list[dict[str, Any]]:
    """Results of cases of as many workers, in one group of ranks for all of them.

    ``models`` are by number of heads.
    """
    (workers,) = {case.workers for case in cases}
    (folder / "cases.json").write_bytes(CASES.dump_json(list(cases)))
    done = ranks.run(workers, engine_worker.main, models, folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "results.json").read_text())


@pytest.fixture(scope="session")
def models(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[int, Path]:
    """By number of heads."""
    four = make_tiny_model(tmp_path_factory.mktemp("four") / "model", heads=4, kv_heads=2)
    return {2: tiny_model, 4: four}


@pytest.fixture(scope="module")
def trained(
    ranks: RankServer, models: Mapping[int, Path], tmp_path_factory: pytest.TempPathFactory
) -> Trained:
    """What happened in a case; it is trained with all others of as many workers, after those that they load."""
    folder = tmp_path_factory.mktemp("engine")
    results: dict[Case, dict[str, Any]] = {}

    def trained(case: Case) -> dict[str, Any]:
        if case not in results:
            fresh = case.loads is None
            alike = dict.fromkeys(
                each
                for each in (ALL if case in ALL else DEEP)
                if each is not None
                and each.workers == case.workers
                and (each.loads is None) == fresh
            )
            for each in alike:
                if each.loads:
                    trained(each.loads)
            results.update(zip(alike, train(ranks, models, folder, list(alike)), strict=True))
        return results[case]

    return trained


def distance(first: str, second: str) -> float:
    """Relative L2 distance of the parameters in two files."""
    one, other = (load_file(path) for path in (first, second))
    assert one.keys() == other.keys()
    error = sum(float((one[name] - other[name]).double().square().sum()) for name in one)
    return (error / sum(float(each.double().square().sum()) for each in one.values())) ** 0.5


def losses(result: dict[str, Any]) -> list[float]:
    return [stats["loss"] for stats in result["stats"]]


@pytest.fixture(scope="session")
def reference(tiny_model: Path) -> list[tuple[float, float]]:
    """(loss, gradient norm) of each update, by a plain PyTorch loop over the whole global batch."""
    return plain_loop(tiny_model)


def plain_loss(model: CausalLMLoss, batch: Batch) -> torch.Tensor:
    tokens, positions, labels = (
        torch.as_tensor(array).long() for array in (batch.tokens, batch.positions, batch.labels)
    )
    if batch.weights is None:
        return model(tokens, positions, labels) / int((labels != -100).sum())
    logits = model.model(tokens, position_ids=positions, use_cache=False).logits.flatten(0, 1)
    losses = torch.nn.functional.cross_entropy(logits, labels.flatten(), reduction="none")
    weights = torch.as_tensor(batch.weights).flatten()
    return (losses * weights).sum() / weights.sum()


def plain_loop(
    tiny_model: Path, skipped: int | None = None, weights: str = "", frozen: bool = False
) -> list[tuple[float, float]]:
    """As above; without a step at one of the updates, with tokens that count differently, or partly frozen."""
    torch.set_num_threads(1)
    model = load_model(
        tiny_model, POSITIONS, 512, torch.float32, "sdpa", activation_checkpointing=False
    )
    if frozen:
        engine_worker.freeze(model)
    wrapped = CausalLMLoss(model, 10_000)
    trained = [p for p in wrapped.parameters() if p.requires_grad]
    matrices = [p for p in trained if p.dim() > 1]
    vectors = [p for p in trained if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1.0, betas=(0.9, 0.95), eps=1e-8)
    curve = []
    for update in range(UPDATES):
        batch = batch_of(update, 0, 1, WEIGHTS.get(weights))
        loss = plain_loss(wrapped, batch)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(wrapped.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = SCHEDULE.learning_rate(update)
        if update != skipped:
            optimizer.step()
        optimizer.zero_grad()
        curve.append((loss.item(), norm.item()))
    return curve


@pytest.mark.parametrize("case", DIVIDED, ids=str)
def test_losses_do_not_depend_on_how_the_work_is_divided(
    trained: Trained, reference: list[tuple[float, float]], case: Case
) -> None:
    result = trained(case)
    assert losses(result) == pytest.approx([loss for loss, _ in reference], rel=TOLERANCE)
    norms = [stats["grad_norm"] for stats in result["stats"]]
    assert norms == pytest.approx([norm for _, norm in reference], rel=1e-4)
    assert {stats["tokens"] for stats in result["stats"]} == {320}
    assert {stats["squared_lengths"] for stats in result["stats"]} == {5 * (20**2 + 20**2 + 24**2)}
    assert {tuple(stats["source_tokens"]) for stats in result["stats"]} == {(192, 128)}
    assert "model.embed_tokens.weight" in result["names"]


@pytest.mark.parametrize("case", WEIGHTED, ids=str)
def test_weighted_losses_do_not_either(trained: Trained, tiny_model: Path, case: Case) -> None:
    expected = plain_loop(tiny_model, weights=case.weights)
    result = trained(case)
    assert losses(result) == pytest.approx([loss for loss, _ in expected], rel=TOLERANCE)
    norms = [stats["grad_norm"] for stats in result["stats"]]
    assert norms == pytest.approx([norm for _, norm in expected], rel=1e-4)


@pytest.mark.parametrize("case", [*SHARED, *HEADWISE], ids=str)
def test_losses_do_not_depend_on_how_many_workers_share_a_row(
    trained: Trained, models: Mapping[int, Path], case: Case
) -> None:
    expected = plain_loop(models[case.heads], weights=case.weights)
    result = trained(case)
    assert losses(result) == pytest.approx([loss for loss, _ in expected], rel=TOLERANCE)
    norms = [stats["grad_norm"] for stats in result["stats"]]
    assert norms == pytest.approx([norm for _, norm in expected], rel=1e-4)
    for name, value in {
        "tokens": 320,
        "squared_lengths": 5 * (20**2 + 20**2 + 24**2),
        "source_tokens": [192, 128],
    }.items():
        assert [stats[name] for stats in result["stats"]] == [value] * UPDATES, name


def test_held_out_losses_of_shared_rows_are_those_of_whole_rows(trained: Trained) -> None:
    expected = trained(PLAIN)["heldout"]
    for case in (Case(1, 2, degree=2), Case(3, 4, degree=2)):
        assert trained(case)["heldout"] == pytest.approx(expected, rel=1e-5)


def test_forgotten_documents_of_shared_rows_would_be_noticed(
    trained: Trained, reference: list[tuple[float, float]]
) -> None:
    result = trained(FORGETFUL)
    first, expected = losses(result)[0], reference[0][0]
    assert abs(first - expected) > 100 * TOLERANCE * expected
    assert result["refused"].startswith("workers.sequence_parallel: a token's loss in LlamaFor")


@pytest.mark.parametrize("case", RESHARED, ids=str)
def test_a_checkpoint_continues_with_any_number_of_workers_to_a_row(
    trained: Trained, models: Mapping[int, Path], case: Case
) -> None:
    expected = [loss for loss, _ in plain_loop(models[case.heads])[3:]]
    assert losses(trained(case)) == pytest.approx(expected, rel=TOLERANCE)


@pytest.mark.parametrize("case", BF16, ids=str)
def test_bf16_follows_the_fp32_curve(
    trained: Trained, reference: list[tuple[float, float]], case: Case
) -> None:
    result = trained(case)
    assert losses(result) == pytest.approx([loss for loss, _ in reference], rel=BF16_TOLERANCE)
    assert losses(result) != pytest.approx([loss for loss, _ in reference], rel=TOLERANCE)


@pytest.mark.parametrize(("one", "two"), BF16_WORKERS, ids=str)
def test_bf16_does_not_depend_on_the_number_of_workers(
    trained: Trained, one: Case, two: Case
) -> None:
    assert losses(trained(one)) == losses(trained(two))
    # The fp32 sum of a few bf16 gradients is exact, unless one of them is 2^16 times another.
    assert distance(trained(one)["masters"]["last"], trained(two)["masters"]["last"]) < 1e-8
    before = [replace(case, bf16_gradients=True) for case in (one, two)]
    assert losses(trained(before[0])) != losses(trained(before[1]))
    assert distance(*(trained(case)["masters"]["last"] for case in before)) > 1e-4


@pytest.mark.parametrize("case", GRADIENTS, ids=str)
def test_bf16_gradients_accumulate_in_fp32(trained: Trained, case: Case) -> None:
    assert 0 < trained(case)["error"] < 1e-8


@pytest.mark.parametrize("case", THIRDS, ids=str)
def test_their_mean_over_three_workers_is_taken_in_fp32(trained: Trained, case: Case) -> None:
    assert 0 < trained(case)["error"] < 1e-7


@pytest.mark.parametrize("case", ROUNDED, ids=str)
def test_bf16_sums_of_gradients_would_be_rounded(trained: Trained, case: Case) -> None:
    assert 1e-3 < trained(case)["error"] < 1e-2


@pytest.mark.parametrize("case", FROM_EARLIER, ids=str)
def test_a_checkpoint_of_bf16_at_stage_1_continues(
    trained: Trained, reference: list[tuple[float, float]], case: Case
) -> None:
    result = trained(case)
    assert distance(result["masters"]["read"], trained(EARLIER)["masters"]["written"]) == 0
    expected = [loss for loss, _ in reference[3:]]
    assert losses(result) == pytest.approx(expected, rel=BF16_TOLERANCE)


@pytest.mark.parametrize("case", RESIZED, ids=str)
def test_a_checkpoint_continues_at_any_stage_with_any_number_of_workers(
    trained: Trained, reference: list[tuple[float, float]], case: Case
) -> None:
    result = trained(case)
    assert losses(result) == pytest.approx([loss for loss, _ in reference[3:]], rel=TOLERANCE)


@pytest.mark.parametrize("case", PARTLY_FROZEN, ids=str)
def test_parameters_that_are_not_trained_are_in_checkpoints_and_read_from_them(
    trained: Trained, tiny_model: Path, case: Case
) -> None:
    assert case.loads
    tolerance = TOLERANCE if case.precision == "fp32" else BF16_TOLERANCE
    expected = [loss for loss, _ in plain_loop(tiny_model, frozen=True)]
    assert losses(trained(case.loads)) == pytest.approx(expected, rel=tolerance)
    assert losses(trained(case)) == pytest.approx(expected[3:], rel=tolerance)
    assert trained(case.loads)["whole"]


@pytest.mark.parametrize("case", CONTINUED, ids=str)
def test_as_many_workers_continue_to_the_bit(trained: Trained, case: Case) -> None:
    assert case.loads
    result, undisturbed = trained(case), trained(case.loads)
    assert losses(result) == losses(undisturbed)[3:]
    assert result["norm"] == undisturbed["norm"]


@pytest.mark.parametrize("case", SKIPPING, ids=str)
def test_an_update_with_a_bad_gradient_or_loss_leaves_the_model_as_it_was(
    trained: Trained, tiny_model: Path, case: Case
) -> None:
    result = trained(case)
    assert [stats["skipped"] for stats in result["stats"]] == [n == 2 for n in range(UPDATES)]
    expected = [loss for loss, _ in plain_loop(tiny_model, skipped=2)]
    tolerance = TOLERANCE if case.precision == "fp32" else BF16_TOLERANCE
    assert losses(result) == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize(
    "case",
    [
        EVERY_SAVER,
        PLAIN_AFTER_SAVERS,
        *(pytest.param(case, marks=pytest.mark.deep) for case in (*ONE_SAVER, *SEVERAL_SAVERS)),
    ],
    ids=str,
)
def test_memory_savers_change_no_loss_or_gradient(
    trained: Trained, reference: list[tuple[float, float]], case: Case
) -> None:
    result, expected = trained(case), reference[3 * (case.loads is not None) :]
    assert losses(result) == pytest.approx([loss for loss, _ in expected], rel=TOLERANCE)
    norms = [stats["grad_norm"] for stats in result["stats"]]
    assert norms == pytest.approx([norm for _, norm in expected], rel=1e-4)
    plain = trained(PLAIN)
    assert result["heldout"] == pytest.approx(plain["heldout"], rel=TOLERANCE)
    assert result["norm"] == pytest.approx(plain["norm"], rel=1e-5)
    assert result["names"] == plain["names"]


def test_only_the_inputs_of_layers_are_offloaded(trained: Trained) -> None:
    layers, updates, rows_of_rank_0, hidden = 2, UPDATES, 3, 64
    packed = trained(EVERY_SAVER)["packed"]
    assert packed == [[1, LENGTH, hidden]] * (layers * updates * rows_of_rank_0)
    assert not trained(PLAIN)["packed"]


@pytest.mark.deep
@pytest.mark.parametrize("case", SKIPPING_SAVERS, ids=str)
def test_an_update_is_skipped_with_memory_savers_too(
    trained: Trained, tiny_model: Path, case: Case
) -> None:
    result = trained(case)
    assert [stats["skipped"] for stats in result["stats"]] == [n == 2 for n in range(UPDATES)]
    expected = [loss for loss, _ in plain_loop(tiny_model, skipped=2)]
    assert losses(result) == pytest.approx(expected, rel=TOLERANCE)


@pytest.mark.deep
@pytest.mark.parametrize("case", BF16_SAVERS, ids=str)
def test_bf16_with_memory_savers_follows_the_fp32_curve(
    trained: Trained, reference: list[tuple[float, float]], case: Case
) -> None:
    found = losses(trained(case))
    assert found == pytest.approx([loss for loss, _ in reference], rel=BF16_TOLERANCE)


def machine() -> str:
    """What the bits of a curve depend on."""
    capability = torch.backends.cpu.get_cpu_capability()
    return f"torch {torch.__version__}, {capability}, {this_machines_device(0).name}"


def golden() -> dict[str, list[float]]:
    """Losses of the plain case on each kind of machine on record."""
    return json.loads(GOLDEN.read_text())


def test_the_golden_curve_is_bit_identical(trained: Trained) -> None:
    """A change that is not meant to touch numbers leaves the file alone; one that is renews it."""
    if machine() not in golden():
        pytest.skip(
            f"no bits are on record for {machine()}; python -m tests.train.golden_losses --add"
        )
    assert losses(trained(PLAIN)) == golden()[machine()]


def test_the_golden_curve_is_that_of_every_machine(trained: Trained) -> None:
    """Kinds of CPU differ in the last bits, and in nothing else."""
    for name, curve in golden().items():
        assert losses(trained(PLAIN)) == pytest.approx(curve, rel=GOLDEN_TOLERANCE), name
