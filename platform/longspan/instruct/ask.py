"""A stage that asks the generator: what is missing of its records, with progress and in parts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray
from pydantic import SecretStr

from longspan.chat.tokenizer import ChatTokenizer
from longspan.errors import UserError, user_error_in
from longspan.instruct.documents import DocumentFile
from longspan.instruct.endpoint import AGAIN, BATCHES, DENIED, Caller
from longspan.instruct.engine import TASK_CPUS, Engine
from longspan.instruct.meter import Meter
from longspan.instruct.parts import PartWriter
from longspan.instruct.requests import Asking, Row
from longspan.instruct.schema import Endpoint
from longspan.observe.units import count, duration
from longspan.storage import Store

REPORT_SECONDS = 2.0
ITEM_CHUNKS = 128
UNANSWERED = 50
"""Requests in a row without any answer, after which the endpoint is given up."""


@dataclass(frozen=True)
class Generator:
    """What requests are sent to: an engine, or an endpoint with its key."""

    tokenizer: ChatTokenizer
    engine: Engine | None = None
    endpoint: Endpoint | None = None
    key: SecretStr | None = None

    def outcomes(self, items: Sequence[Row], asking: Asking, name: str) -> Iterable[pa.Table]:
        """Records of the requests about some documents, in tables, as they come."""
        import ray.data

        dataset = ray.data.from_items(list(items), override_num_blocks=len(items))
        dataset = dataset.flat_map(asking.requests, num_cpus=TASK_CPUS)
        if self.engine is not None:
            # Ray would ask its autoscaler for the engine's GPUs in the pool of the data.
            dataset.context.execution_options.label_selector = None
            # A block is given back as a whole: small ones lose little when the job is killed.
            dataset = dataset.repartition(target_num_rows_per_block=self.engine.batch)
            dataset = self.engine.replies(dataset, self.tokenizer, asking.sampling)
        else:
            assert self.endpoint is not None and self.key is not None
            rows = BATCHES * self.endpoint.requests
            caller: Any = Caller
            dataset = dataset.repartition(target_num_rows_per_block=rows).map_batches(
                caller,
                fn_constructor_args=(self.endpoint, self.key, asking.sampling),
                batch_size=rows,
                batch_format="pyarrow",
                compute=ray.data.ActorPoolStrategy(size=1),
                num_cpus=TASK_CPUS,
            )
        dataset = dataset.map(asking.record, num_cpus=TASK_CPUS)
        dataset.set_name(name)
        dataset.context.enable_progress_bars = False
        return dataset.iter_batches(batch_size=None, batch_format="pyarrow")


def ask(
    store: Store,
    folder: str,
    schema: pa.Schema,
    generator: Generator,
    asking: Asking,
    files: Sequence[DocumentFile],
    total: int,
    doing: str,
    say: Callable[[str], None],
) -> int:
    """Ask for what is missing, and commit the records.

    Args:
        store: where records go.
        folder: theirs in the store.
        schema: theirs.
        generator: who is asked.
        asking: what.
        files: the documents that it is about.
        total: number of requests.
        doing: what progress lines begin with.
        say: takes the lines.

    Returns:
        Requests that got no answer and are left for another time.

    Raises:
        UserError: the endpoint lets nobody in, or does not answer any more.
    """
    if not total:
        return 0
    say(
        f"{doing}: {total:,} requests{'; the engine starts, which takes a while' if generator.engine else ''}"
    )
    progress, meter = Progress(doing, total, say), Meter(doing)
    writer = PartWriter(store, folder, schema)
    unanswered = in_a_row = 0
    try:
        for table in generator.outcomes(_items(files), asking, doing):
            rows = table.to_pylist()
            if not rows:
                continue
            answered = [row for row in rows if not row["problem"].startswith((AGAIN, DENIED))]
            writer.add(answered)
            denied = next((row for row in rows if row["problem"].startswith(DENIED)), None)
            if denied:
                raise UserError(denied["problem"].removeprefix(f"{DENIED}: "))
            unanswered += len(rows) - len(answered)
            in_a_row = 0 if answered else in_a_row + len(rows)
            if in_a_row >= min(UNANSWERED, total):
                raise UserError(
                    f"generator.endpoint.url: the last {in_a_row} requests got no answer "
                    f"({rows[-1]['problem']}); the same command goes on where this one ends"
                )
            progress.add(rows)
            meter.add(rows)
    except ray.exceptions.RayError as error:
        if generator.engine is None or user_error_in(error):
            raise
        raise UserError(_dead(error)) from error
    finally:
        writer.close()
    return unanswered


def _dead(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (
        "generator: the engine died and could not go on, also as a new one "
        f"({type(error).__name__}: {(lines or ['no reason given'])[-1][:300]}); what it said itself is in "
        "the logs of its workers in Ray's dashboard. Replies that came before are kept: the same "
        "command goes on from there"
    )


def _items(files: Sequence[DocumentFile]) -> list[Row]:
    """Some documents of a file each, about as many chunks as make a task worth its start."""
    items: list[Row] = []
    for file in files:
        ids: list[str] = []
        chunks = 0
        for document in file.documents:
            ids.append(document["id"])
            chunks += len(document["chunks"])
            if chunks >= ITEM_CHUNKS:
                items.append({"path": file.path, "documents": json.dumps(ids)})
                ids, chunks = [], 0
        if ids:
            items.append({"path": file.path, "documents": json.dumps(ids)})
    return items


class Progress:
    """Lines on how far a stage is; its speed counts from when the first requests were handed over."""

    def __init__(
        self,
        doing: str,
        total: int,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._doing, self._total, self._say, self._clock = doing, total, say, clock
        self._done = self._tokens = self._problems = 0
        self._begun: float | None = None
        self._last = float("-inf")

    def add(self, rows: Sequence[Row]) -> None:
        """Take note of records; now and then a line is said."""
        self._done += len(rows)
        self._tokens += sum(row["reply_tokens"] for row in rows)
        self._problems += sum(bool(row["problem"]) for row in rows)
        now = self._clock()
        if self._begun is None:
            self._begun = now - max(row["seconds"] for row in rows)
        if now - self._last < REPORT_SECONDS and self._done < self._total:
            return
        self._last = now
        self._say(
            f"{self._doing}: {self._done:,}/{self._total:,} {self._done / self._total:.0%} | "
            f"{self._speed(now)} | {self._problems:,} of no use"
        )

    def _speed(self, now: float) -> str:
        assert self._begun is not None
        seconds = max(now - self._begun, 1e-3)
        left = duration(seconds / self._done * (self._total - self._done))
        end = "done" if self._done >= self._total else f"{left} left"
        return f"{count(self._tokens / seconds)} tok/s | {end}"
