"""A pool of actors: the same scores as in one process, each computed once, whatever dies."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pytest
import torch

from longspan.errors import UserError
from longspan.evaluate.scoring.batches import batched, score_all
from longspan.evaluate.scoring.pool import Pool, ScoredModel, Workers, _Actor, _rows
from longspan.evaluate.scoring.progress import Progress
from longspan.evaluate.scoring.requests import ChoiceRequest, LossRequest, Request, Score, Texts
from longspan.evaluate.scoring.scorer import Scorer
from longspan.storage import Store
from tests.evaluate.scored import random_ids
from tests.tiny import make_tiny_model

WINDOW = 2048


@dataclass(frozen=True)
class Dies(ScoredModel):
    """A model whose process ends at its first batch, unless a file is there that it writes before; "": always."""

    flag: str = field(default="", kw_only=True)

    def load(self, store: Store, device: str) -> Scorer:
        scorer = super().load(store, device)
        if not self.flag or not Path(self.flag).exists():
            if self.flag:
                Path(self.flag).touch()
            scorer.batch_losses = lambda rows: os._exit(1)
        return scorer


def requests_of(texts: Texts) -> list[Request]:
    """Rows enough for several batches, choices, and a row that is too long."""
    rows = [texts.span(random_ids(1500 + number, number)) for number in range(12)]
    losses = [LossRequest((row,), 1400) for row in rows]
    choices = [ChoiceRequest(tuple(random_ids(30, seed)), ((5,), (6, 7))) for seed in range(3)]
    return [*losses, *choices, LossRequest((texts.span(random_ids(WINDOW + 1)),), 1)]


@pytest.mark.real
def test_scores_are_those_of_one_process_and_each_is_computed_once(
    ray_session: str, tmp_path: Path
) -> None:
    folder = make_tiny_model(tmp_path / "model", WINDOW)
    store, texts, lines = Store(str(tmp_path / "store")), Texts(), list[str]()
    requests = requests_of(texts)
    model = Dies(str(folder), "weights", "fp32", flag=str(tmp_path / "died"))
    pool = Pool(store, model, Workers(actors=2), lines.append)
    plain = ScoredModel(str(folder), "weights", "fp32")
    some = InProcess(store, plain, Workers(actors=1)).score(requests[:3], texts, "losses")
    scores = pool.score(requests, texts, "losses")
    assert (tmp_path / "died").exists()
    assert equal(some, {id: scores[id] for id in some})

    expected = score_all(Scorer.load(folder, "fp32"), requests, texts)
    assert scores.keys() == expected.keys()
    for id, score in scores.items():
        assert score.problem == expected[id].problem
        np.testing.assert_allclose(score.losses, expected[id].losses, atol=1e-5)
        np.testing.assert_allclose(score.loglikelihoods, expected[id].loglikelihoods, rtol=1e-5)
        assert score.is_greedy == expected[id].is_greedy
    assert [score.problem for score in scores.values() if score.problem] == [
        "over_length: 2,049 tokens, window of 2,048"
    ]

    # Nothing is left to do, even for a model that is gone.
    gone = replace(pool, model=replace(model, address=str(tmp_path / "gone")))
    before = len(lines)
    assert equal(gone.score(requests, texts, "losses"), scores)
    assert len(lines) == before


@dataclass(frozen=True)
class InProcess(Pool):
    """A pool whose only worker is this process."""

    def _scored(
        self, batches: Sequence[Sequence[Request]], texts: Texts, name: str
    ) -> Iterator[list[dict[str, Any]]]:
        with patch("ray.get", lambda shared: shared):
            actor = _Actor(self.model, self.store, self.workers, [(batches, texts)])
        for number in range(len(batches)):
            yield list(_rows(actor(pa.table({"batch": [number]}))))


@dataclass(frozen=True)
class FullGPU(ScoredModel):
    """A model for whose second batch there is no memory."""

    def load(self, store: Store, device: str) -> Scorer:
        scorer = super().load(store, device)
        results = iter([scorer.batch_losses])
        error = torch.OutOfMemoryError("tried to allocate 9 GiB")
        scorer.batch_losses = lambda rows: next(results, raising(error))(rows)
        return scorer


def raising(error: Exception) -> Any:
    def call(*args: Any) -> None:
        raise error

    return call


def test_a_model_that_cannot_be_loaded_is_the_users_error(tmp_path: Path) -> None:
    model = ScoredModel(str(tmp_path / "gone"), "weights", "fp32", setting="reference")
    pool, texts = InProcess(Store(str(tmp_path)), model, Workers(actors=1)), Texts()
    with pytest.raises(UserError, match=r"^reference: there is no model at"):
        pool.score(requests_of(texts), texts, "losses")


def test_batches_before_one_that_memory_is_not_enough_for_are_kept(tmp_path: Path) -> None:
    folder, texts = make_tiny_model(tmp_path / "model", WINDOW), Texts()
    requests = requests_of(texts)[:-1]
    full = FullGPU(str(folder), "weights", "fp32")
    pool = InProcess(Store(str(tmp_path)), full, Workers(actors=1), lambda line: None)
    with pytest.raises(UserError, match=r"out of GPU memory at a row of 1,\d\d\d tokens .*9 GiB"):
        pool.score(requests, texts, "losses")
    lines: list[str] = []
    more = replace(pool, model=ScoredModel(str(folder), "weights", "fp32"), log=lines.append)
    assert len(more.score(requests, texts, "losses")) == len(requests)
    left = len(requests) - len(batched(requests)[0])
    assert lines[0].startswith(f"losses: {left} rows of ")


def equal(some: dict[str, Score], others: dict[str, Score]) -> bool:
    """Whether scores are the same to the bit."""
    return some.keys() == others.keys() and all(
        np.array_equal(score.losses, others[id].losses)
        and score.loglikelihoods == others[id].loglikelihoods
        for id, score in some.items()
    )


def test_lines_tell_speed_and_time_left_in_tokens() -> None:
    lines, times = list[str](), iter([0.0, 1.0, 10.0, 10.5])
    progress = Progress("losses", 4000, lines.append, lambda: next(times))
    row = {"tokens": 500, "problem": ""}
    progress.add([row])
    progress.add([row, row | {"tokens": 0, "problem": "over_length: ..."}])
    progress.add([row] * 6)
    assert lines == [
        "losses: 1k/4k tokens 25% | 100 tok/s | 30s left | 1 refused",
        "losses: 4k/4k tokens 100% | 381 tok/s | 0s left | 1 refused",
    ]


@pytest.mark.real
@pytest.mark.deep
def test_a_batch_that_kills_every_actor_ends_the_work(
    ray_session: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longspan.evaluate.scoring.pool.MAX_RESTARTS", 1)
    folder, texts = make_tiny_model(tmp_path / "model", WINDOW), Texts()
    model = Dies(str(folder), "weights", "fp32")
    pool = Pool(Store(str(tmp_path / "store")), model, Workers(actors=1), lambda line: None)
    with pytest.raises(UserError, match="died 2 times"):
        pool.score(requests_of(texts)[:1], texts, "losses")
