"""Rows of tens and hundreds of thousands of tokens, shared by four workers, against one worker."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.ranks import RankServer
from tests.train import long_rows_worker
from tests.train.long_rows_worker import LongRow, make_model

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]

TOLERANCE = 1e-5  # relative; sums in another order


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("long") / "model")


def test_a_row_is_scored_by_two_workers_as_by_one(
    ranks: RankServer, model: Path, tmp_path: Path
) -> None:
    row, output = LongRow(16_384, document=500), tmp_path / "losses.pt"
    done = ranks.run(2, long_rows_worker.score, model, row, 2, output)
    assert done.returncode == 0, done.stderr[-3000:]
    whole, shared = torch.load(output, weights_only=True)
    assert shared.shape == (1, row.length)
    assert int((whole == 0).sum()) == int((row.batch(0).labels == -100).sum())
    torch.testing.assert_close(shared, whole, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.deep
@pytest.mark.parametrize(
    ("row", "updates", "scored"),
    [
        (LongRow(131_072, document=500), 2, LongRow(1_048_576, document=250)),
        (LongRow(32_768), 1, None),
    ],
    ids=["packed", "one-document"],
)
def test_long_rows_are_trained_by_four_workers_as_by_one(
    ranks: RankServer,
    model: Path,
    tmp_path: Path,
    row: LongRow,
    updates: int,
    scored: LongRow | None,
) -> None:
    results: dict[int, dict[str, Any]] = {}
    for degree in (1, 4):
        output = tmp_path / f"{degree}.json"
        arguments = (model, row, updates, scored, degree, output)
        done = ranks.run(degree, long_rows_worker.train, *arguments)
        assert done.returncode == 0, done.stderr[-3000:]
        results[degree] = json.loads(output.read_text())
    for one, shared in zip(results[1]["stats"], results[4]["stats"], strict=True):
        assert shared["tokens"] == one["tokens"] == row.length
        assert shared["counted_tokens"] == one["counted_tokens"]
        assert not shared["skipped"]
        for name in ("loss", "grad_norm"):
            assert shared[name] == pytest.approx(one[name], rel=TOLERANCE)
    if scored is not None:
        whole, shared = (
            torch.load(tmp_path / f"{degree}.pt", weights_only=True) for degree in (1, 4)
        )
        assert shared.shape == (1, scored.length)
        torch.testing.assert_close(shared, whole, rtol=TOLERANCE, atol=TOLERANCE)
