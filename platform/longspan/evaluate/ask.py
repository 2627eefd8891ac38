"""Asking a model for samples: what is missing is asked for and committed in parts; all of it is scored at the end.

evaluate/replies/<model>/*.parquet  replies as they come, under the identity of their requests; evaluations share them
<folder>/samples/<task>.parquet     scored records of one call, in order, written at its end
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field
from typing import Any

import pyarrow as pa

from longspan.errors import UserError
from longspan.evaluate.grid import (
    RequestIdentities,
    SampleGrid,
    SampleKey,
    pending,
)
from longspan.evaluate.probes.fitting import BASE
from longspan.evaluate.problems import is_rejected, problem_of
from longspan.evaluate.records import RECORDS, write_records
from longspan.evaluate.results import LeftOut, SampleRecord
from longspan.evaluate.samples import CLOSED_BOOK, ProbeSource, Sample, Scoring, Task
from longspan.generate.ask import Stage, ask
from longspan.generate.generators import TextGenerator
from longspan.generate.parts import read_parts
from longspan.generate.progress import Log
from longspan.generate.requests import TRANSIENT, Reply, Request, Row, Sampling
from longspan.hashing import content_id, sampling_seed
from longspan.storage import Store

ITEM_SAMPLES = 32
"""Samples that a task of Ray Data makes, at most; the engine waits for the first task."""
ITEM_TOKENS = 2**20
"""Tokens of samples that a task of Ray Data makes, at most: more work than its start, and little memory."""
OVERHEAD_TOKENS = 256
"""Work of a request besides its length, as tokens, where the time left is estimated."""
SHOWN_CHARACTERS = 400
"""Characters of a prompt's head, of its tail, and of its evidence that a record keeps."""

PARTS = pa.schema(
    [
        RECORDS.field("id"),
        ("sample", pa.string()),
        *(column for column in RECORDS if column.name not in ("id", "request", "score")),
    ]
)
"""Columns of parts: `id` is that of the request, `sample` that of the sample. Scores follow from the rest."""


@dataclass(frozen=True)
class Asked:
    """Records of the samples that a model was asked.

    Attributes:
        records: of every sample, by task in the order of the grid, then by length and index.
        left_out: tasks at lengths at which there can be no samples of them.
    """

    records: list[SampleRecord] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


def ask_samples(
    grid: SampleGrid, generator: TextGenerator, store: Store, folder: str, log: Log
) -> Asked:
    """Ask for the samples of a grid that are not recorded, and write all of them.

    Args:
        grid: what to ask for.
        generator: answers.
        store: keeps replies and records.
        folder: of the evaluation of this model in the store, where records are written.
        log: takes lines on progress.

    Returns:
        Records and what was left out. Requests that got no answer have the problem "unanswered"; the next call makes
        them again. Samples that can't be made, such as for lack of text at their depth, have the problem
        "unmeasurable".

    Raises:
        UserError: the endpoint refuses every request or does not answer, or the engine died.
    """
    replies = replies_folder(grid.model)
    names = {name for own in grid.recorded_as(grid.sample_keys()).values() for name in own}
    recorded = _by_id(read_parts(store, replies, PARTS, names).to_pylist())
    problems = grid.problems(recorded.keys())
    left_out = _left_out(problems)
    for each in left_out:
        log(f"probes: {each.task} at {each.length:,} tokens is left out: {each.reason}")
    keys = grid.sample_keys(problems)
    missing = pending(grid, keys, recorded.keys())
    source = SampleRequests(
        {task.name: task for task in grid.tasks}, grid.identities, generator.share(grid.source)
    )
    stage = Stage(
        *("evaluate", "probes", source, items_of(missing), len(missing), replies, PARTS),
        work=sum(_work(key.length) for key in missing),
        weight=lambda row: _work(row["length"]),
        retried=TRANSIENT,
    )
    unanswered = ask(stage, generator, store, log)
    if missing:
        recorded = _by_id(read_parts(store, replies, PARTS, names).to_pylist())
    recorded |= _by_id(unanswered)
    places = {task.name: place for place, task in enumerate(grid.tasks)}
    keys.sort(key=lambda key: (places[key.task], key.length, key.index))
    rows = ((key, _row(key, own, recorded)) for key, own in grid.recorded_as(keys).items())
    records = [_record(row, source.tasks[key.task].scoring) for key, row in rows]
    write_records(store, folder, records)
    return Asked(records, left_out)


def _left_out(problems: Mapping[tuple[str, int], str]) -> list[LeftOut]:
    # Few tasks have samples without any context, and some have no others.
    return [
        LeftOut(task=task, length=length, reason=problem)
        for (task, length), problem in problems.items()
        if length != BASE and not task.endswith(CLOSED_BOOK)
    ]


def replies_folder(model: str) -> str:
    """Return the folder in the store of all replies of a model, by its identity (`SampleGrid.model`)."""
    return f"evaluate/replies/{content_id(model)}"


def _work(length: int) -> float:
    return float(length + OVERHEAD_TOKENS)


def _by_id(rows: Sequence[Row]) -> dict[str, Row]:
    return {row["id"]: row for row in rows}


def _row(key: SampleKey, names: Sequence[str], recorded: Mapping[str, Row]) -> Row:
    row = next((recorded[name] for name in names if name in recorded), None)
    assert row is not None, f"{key} was asked for, and has no record"
    return row


def _record(row: Row, scoring: Scoring) -> SampleRecord:
    """The record of a row of `PARTS`, scored by the metrics as they are now."""
    from longspan.evaluate.metrics import score

    values = {name: row[name] for name in PARTS.names if name not in ("id", "sample")}
    found = None if row["problem"] else score(scoring, row["reply"], row["references"])
    return SampleRecord(id=row["sample"], request=row["id"], score=found, **values)


def items_of(keys: Sequence[SampleKey]) -> list[Row]:
    """Return items of some samples each, in the order of the keys."""
    items: list[list[SampleKey]] = []
    tokens = 0
    for key in keys:
        if not items or len(items[-1]) == ITEM_SAMPLES or tokens + key.length > ITEM_TOKENS:
            items.append([])
            tokens = 0
        items[-1].append(key)
        tokens += key.length
    return [{"samples": json.dumps([astuple(key) for key in item])} for item in items]


EMPTY: dict[str, Any] = {
    "depth": None,
    "references": [],
    "prompt_head": "",
    "prompt_tail": "",
    "evidence": [],
    "evidence_text": "",
}
"""Columns of a record about a prompt, of a sample that has none."""


@dataclass(frozen=True)
class SampleRequests:
    """Requests for samples, and the records of their replies; a `RequestSource`.

    Attributes:
        tasks: by name.
        identities: of requests.
        source: gives what samples are made from.
    """

    tasks: Mapping[str, Task]
    identities: RequestIdentities
    source: Callable[[], ProbeSource]

    def requests(self, item: Row) -> Iterator[Request]:
        """Yield the requests of an item, in its order; for a sample that can't be made, one that is not sent."""
        source = self.source()
        for values in json.loads(item["samples"]):
            key = SampleKey(*values)
            task = self.tasks[key.task]
            id = task.sample_id(source, key.length, key.index)
            try:
                sample = task.sample(source, key.length, key.index)
                request = self._request(sample, source)
            except UserError as error:
                # Other samples of the task have enough text, or none that spells out a control token.
                yield self._unmeasurable(key, id, str(error))
                continue
            assert sample.id == id, f"{key} has the id {sample.id}, and not {id}"
            yield request

    def _unmeasurable(self, key: SampleKey, sample: str, problem: str) -> Request:
        id = self.identities.of(sample)
        facts = EMPTY | {"sample": sample, "cluster": sample} | asdict(key)
        return Request(
            id,
            Sampling(self.tasks[key.task].max_tokens, self.identities.temperature),
            sampling_seed("sample", id),
            carry=json.dumps(facts),
            problem=problem,
        )

    def _request(self, sample: Sample, source: ProbeSource) -> Request:
        id = self.identities.of(sample.id)
        return Request(
            id,
            Sampling(sample.max_tokens, self.identities.temperature, stop=sample.stop),
            sampling_seed("sample", id),
            content=sample.text if self.identities.form == "chat" else "",
            prompt_ids=source.format.prompt_ids(sample.text, sample.answer_prefix),
            carry=json.dumps(_facts(sample)),
        )

    def record(self, reply: Reply) -> Row:
        """See `RequestSource.record`."""
        is_final = is_rejected(reply.failure)
        return json.loads(reply.carry) | {
            "id": self.identities.rejected(reply.id) if is_final else reply.id,
            "reply": reply.text,
            "problem": problem_of(reply.failure),
            "truncated": reply.finish_reason == "length",
            "prompt_tokens": reply.prompt_tokens,
            "reply_tokens": reply.reply_tokens,
        }


def _facts(sample: Sample) -> dict[str, Any]:
    """Return what a record keeps of a sample."""
    evidence = sample.text[slice(*sample.evidence[0])] if sample.evidence else ""
    return {
        "sample": sample.id,
        "task": sample.task,
        "length": sample.length,
        "index": sample.index,
        "depth": sample.depth,
        "cluster": sample.cluster,
        "references": list(sample.references),
        "prompt_head": sample.text[:SHOWN_CHARACTERS],
        "prompt_tail": sample.text[-SHOWN_CHARACTERS:],
        "evidence": [list(span) for span in sample.evidence],
        "evidence_text": evidence[:SHOWN_CHARACTERS],
    }
