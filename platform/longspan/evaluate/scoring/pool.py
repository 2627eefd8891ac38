"""A pool of Ray actors that score requests; scores are committed part by part and never computed twice."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from longspan.errors import UserError
from longspan.evaluate.scoring.batches import batched, score_batch
from longspan.evaluate.scoring.progress import Progress
from longspan.evaluate.scoring.requests import SCORES, Request, Score, Texts
from longspan.evaluate.scoring.scorer import Precision, Scorer
from longspan.generate.parts import PartWriter, read_parts
from longspan.generate.progress import Log
from longspan.hashing import content_id
from longspan.observe.units import count
from longspan.runtime.pool import selector

if TYPE_CHECKING:
    from longspan.storage import Store

VERSION = 1
"""Increased when the same request would get other scores."""
CPU_THREADS = 8
"""Threads of a model on CPUs, at most: more of them gain little."""
MAX_RESTARTS = 3
"""Times that Ray replaces a dead actor; without a limit a request that kills actors would do so forever."""
FAILURE = ""
"""Id of a row that holds a user's error instead of a score: Ray Data does not pass on what a worker raises."""

Row = dict[str, Any]


@dataclass(frozen=True)
class ScoredModel:
    """A model as the workers of a pool load it.

    Attributes:
        address: local folder on every node, s3:// address, or hub name.
        identity: changes with its weights.
        precision: of parameters and activations.
        allow_beyond_window: score rows longer than its window.
        setting: the recipe's key that names it, for messages.
    """

    address: str
    identity: str
    precision: Precision
    allow_beyond_window: bool = field(default=False, kw_only=True)
    setting: str = field(default="model", kw_only=True)

    @property
    def folder(self) -> str:
        """Folder of its scores in the store; evaluations share it."""
        key = content_id(VERSION, self.identity, self.precision, self.allow_beyond_window)
        return f"evaluate/scores/{key}"

    def load(self, store: Store, device: str) -> Scorer:
        """Load it on this node.

        Raises:
            UserError: no such model, or one that cannot be scored.
        """
        from longspan.model.cache import model_cache_folder
        from longspan.model.source import local_model_dir, named

        with named(self.setting):
            folder = local_model_dir(self.address, store, model_cache_folder())
            return Scorer.load(folder, self.precision, device, self.allow_beyond_window)


@dataclass(frozen=True)
class Workers:
    """Actors that each hold a model.

    Attributes:
        actors: how many at most.
        gpu: whether each takes a GPU, else `threads` CPUs.
        threads: of torch, and CPUs of an actor without a GPU.
        pool: on whose nodes they are; any node's if None.
    """

    actors: int
    gpu: bool = False
    threads: int = 1
    pool: str | None = None

    @classmethod
    def of_cluster(cls, pool: str | None, log: Log) -> Workers:
        """Return one per GPU of a pool's nodes, or as many as its free CPUs are enough for if it has none."""
        from longspan.runtime.nodes import free_cpus, gpus_of, machines, start_machine

        start_machine(pool, log)
        nodes = machines(pool)
        if gpus := sum(map(gpus_of, nodes)):
            return cls(gpus, gpu=True, pool=pool)
        free = max(1, free_cpus(pool, log))
        threads = min(CPU_THREADS, max(1, free // len(nodes)))
        return cls(max(1, free // threads), threads=threads, pool=pool)

    def resources(self) -> dict[str, Any]:
        """Ray's options of an actor."""
        taken: dict[str, Any] = {"num_gpus": 1} if self.gpu else {"num_cpus": self.threads}
        return taken | {"label_selector": selector(self.pool), "max_restarts": MAX_RESTARTS}


@dataclass(frozen=True)
class Pool:
    """Scores requests with a model on some workers of the Ray cluster that is connected.

    Attributes:
        store: where scores are committed.
        model: what scores.
        workers: that hold it.
        log: takes lines on the progress.
    """

    store: Store
    model: ScoredModel
    workers: Workers
    log: Log = print

    def score(self, requests: Sequence[Request], texts: Texts, name: str) -> dict[str, Score]:
        """Score what has no committed score yet; returns all scores by the requests' ids.

        A batch that was interrupted is computed again as a whole, so that its floats are the same.

        Args:
            requests: in any order; several equal ones are scored once.
            texts: of their rows.
            name: of the work, in lines and on Ray's dashboard.

        Raises:
            UserError: the model cannot be loaded, its memory is not enough, or its actors died again and again.
        """
        wanted = {request.id for request in requests}
        scores = self._committed(wanted)
        left = [
            batch
            for batch in batched(requests)
            if any(request.id not in scores for request in batch)
        ]
        if left:
            self._run(left, texts, name, scores)
        assert len(scores) == len(wanted), f"{len(wanted) - len(scores)} requests have no score"
        return scores

    def _committed(self, wanted: set[str]) -> dict[str, Score]:
        table = read_parts(self.store, self.model.folder, SCORES)
        return {row["id"]: Score.of_record(row) for row in _rows(table) if row["id"] in wanted}

    def _run(
        self,
        batches: Sequence[Sequence[Request]],
        texts: Texts,
        name: str,
        scores: dict[str, Score],
    ) -> None:
        """Score batches; commits what is missing in ``scores``, and adds it there."""
        import ray

        tokens = sum(request.tokens for batch in batches for request in batch)
        progress = Progress(name, tokens, self.log)
        writer = PartWriter(self.store, self.model.folder, SCORES)
        self.log(f"{name}: {sum(map(len, batches)):,} rows of {count(tokens)} tokens to score")
        try:
            for rows in self._scored(batches, texts, name):
                if failed := next((row for row in rows if row["id"] == FAILURE), None):
                    raise UserError(failed["problem"])
                new = [row for row in rows if row["id"] not in scores]
                writer.add(new)
                scores |= {row["id"]: Score.of_record(row) for row in new}
                progress.add(rows)
        except ray.exceptions.RayActorError as error:
            raise UserError(_died(name, error)) from error
        finally:
            writer.close()

    def _scored(
        self, batches: Sequence[Sequence[Request]], texts: Texts, name: str
    ) -> Iterator[list[Row]]:
        """Rows of `SCORES` of whole batches, as they come."""
        import ray
        import ray.data
        from ray.util.annotations import RayDeprecationWarning

        actors = min(self.workers.actors, len(batches))
        shared = ray.put((batches, texts))
        items = [{"batch": number} for number in range(len(batches))]
        actor: Any = _Actor  # Ray Data makes one per actor and calls it.
        with warnings.catch_warnings():
            # Ray 2.60 warns of other options than its named ones, and has no name for max_restarts.
            warnings.simplefilter("ignore", RayDeprecationWarning)
            dataset = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
                actor,
                fn_constructor_args=(self.model, self.store, self.workers, [shared]),
                batch_size=1,
                batch_format="pyarrow",
                compute=ray.data.ActorPoolStrategy(
                    min_size=1, max_size=actors, initial_size=actors
                ),
                **self.workers.resources(),
            )
        # Ray would ask its autoscaler for the actors' GPUs in the pool of the data.
        dataset.context.execution_options.label_selector = None
        dataset.set_name(name.replace("/", "_"))  # Ray names a file after it.
        dataset.context.enable_progress_bars = False  # Ours says more.
        # Prefetching would hold a finished batch back until the next one is there.
        tables = dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
        for table in tables:
            yield list(_rows(table))


class _Actor:
    """A model in a process of its own."""

    def __init__(
        self, model: ScoredModel, store: Store, workers: Workers, shared: Sequence[Any]
    ) -> None:
        import ray
        import torch

        if not workers.gpu:
            torch.set_num_threads(workers.threads)
        self._batches, self._texts = ray.get(shared[0])
        self._scorer: Scorer | None = None
        self._problem = ""
        try:
            self._scorer = model.load(store, "cuda" if workers.gpu else "cpu")
        except UserError as error:
            self._problem = str(error)

    def __call__(self, items: pa.Table) -> pa.Table:
        batch = self._batches[items.column("batch")[0].as_py()]
        records = [score.record() for score in self._scores(batch)]
        return pa.Table.from_pylist(records, schema=SCORES)

    def _scores(self, batch: Sequence[Request]) -> list[Score]:
        import torch

        if self._scorer is None:
            return [Score(FAILURE, 0, self._problem)]
        try:
            return score_batch(self._scorer, batch, self._texts)
        except torch.OutOfMemoryError as error:
            tokens = max(request.tokens for request in batch)
            problem = (
                f"evaluate: out of GPU memory at a row of {tokens:,} tokens ({error}); evaluate up to a shorter "
                "length, or on GPUs with more memory"
            )
            return [Score(FAILURE, 0, problem)]


def _rows(table: pa.Table) -> Iterator[Row]:
    """Rows of a table of `SCORES`, their losses as arrays."""
    small = table.drop_columns(["losses"]).to_pylist()
    losses = (
        part for chunk in table.column("losses").chunks if len(chunk) for part in _arrays(chunk)
    )
    for row, own in zip(small, losses, strict=True):
        yield row | {"losses": own}


def _arrays(lists: pa.ListArray) -> list[np.ndarray]:
    """Each list of float32 as an array; no number becomes an object of Python."""
    flat = lists.flatten().to_numpy(zero_copy_only=False)
    return np.split(flat, np.cumsum(lists.value_lengths().to_numpy(zero_copy_only=False))[:-1])


def _died(name: str, error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (
        f"evaluate: the actors that score {name!r} died {MAX_RESTARTS + 1} times ({type(error).__name__}: "
        f"{(lines or ['no reason given'])[-1][:300]}); see their logs in Ray's dashboard, and re-run the same "
        "command to resume"
    )
