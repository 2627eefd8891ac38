"""A stage of generation in this process: what is committed, what is left for another time, and what ends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest

from longspan.errors import UserError
from longspan.generate.ask import UNANSWERED, Stage, ask
from longspan.generate.generators import InProcessGenerator
from longspan.generate.parts import PartWriter, read_parts
from longspan.generate.progress import Progress
from longspan.generate.requests import (
    TRANSIENT,
    FailureKind,
    Reply,
    Request,
    Row,
    Sampling,
    over_length,
)
from longspan.storage import Store

SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "reply", "problem")]
    + [(name, pa.int64()) for name in ("prompt_tokens", "reply_tokens")]
)


@dataclass(frozen=True)
class Numbers:
    """Requests that are numbers."""

    def requests(self, item: Row) -> Iterator[Request]:
        for number in range(item["first"], item["end"]):
            yield Request(str(number), Sampling(4, 0.0), number, prompt_ids=[number])

    def record(self, reply: Reply) -> Row:
        return {
            "id": reply.id,
            "reply": reply.text,
            "problem": reply.failure.message if reply.failure else "",
            "prompt_tokens": reply.prompt_tokens,
            "reply_tokens": reply.reply_tokens,
        }


@dataclass
class Echo:
    """Answers a number with itself, or fails as it is told to."""

    failing: Mapping[int, FailureKind] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def respond(self, request: Request) -> Reply:
        self.asked.append(request.id)
        if kind := self.failing.get(request.seed):
            return Reply.failed(request, kind, f"number {request.id}")
        return Reply(request.id, request.carry, request.id, "stop", 1, 1)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def run(store: Store, echo: Echo, end: int = 100, log: Callable[[str], None] = print) -> list[Row]:
    items = [{"first": first, "end": min(end, first + 30)} for first in range(0, end, 30)]
    stage = Stage("test", "numbers", Numbers(), items, end, "replies", SCHEMA)
    return ask(stage, InProcessGenerator(echo), store, log)


def test_records_are_committed_and_what_is_not_answered_is_left(store: Store) -> None:
    echo = Echo({3: "refused", 4: "over_length", 97: "unanswered", 98: "unanswered"})
    lines: list[str] = []
    left = run(store, echo, log=lines.append)
    assert [row["id"] for row in left] == ["97", "98"]
    assert echo.asked == list(map(str, range(100))), "in the order of the items"
    rows = {row["id"]: row for row in read_parts(store, "replies", SCHEMA).to_pylist()}
    assert rows.keys() == set(echo.asked) - {"97", "98"}
    assert rows["3"]["problem"] == "number 3" and rows["5"]["reply"] == "5"
    assert lines[0] == "numbers: 100 requests"
    assert lines[-1].startswith("numbers: 100/100 100% | ") and lines[-1].endswith("4 rejected")


def test_what_a_stage_retries_is_not_committed(store: Store) -> None:
    echo = Echo({3: "engine_error", 4: "refused", 5: "unanswered"})
    assert [row["id"] for row in run(store, echo, 10)] == ["5"]
    again = Echo({3: "engine_error"})
    stage = Stage(
        *("test", "numbers", Numbers(), [{"first": 0, "end": 10}], 10, "other", SCHEMA),
        retried=TRANSIENT,
    )
    left = ask(stage, InProcessGenerator(again), store, print)
    assert [row["id"] for row in left] == ["3"]
    assert "3" not in read_parts(store, "other", SCHEMA).column("id").to_pylist()


def test_an_endpoint_that_denies_ends_the_stage_and_what_came_before_stays(store: Store) -> None:
    with pytest.raises(UserError, match=r"^number 5$"):
        run(store, Echo({5: "denied"}))
    assert read_parts(store, "replies", SCHEMA).column("id").to_pylist() == list("01234")


def test_an_endpoint_that_stops_answering_is_given_up(store: Store) -> None:
    echo = Echo({number: "unanswered" for number in range(7, 100)})
    with pytest.raises(
        UserError, match=r"^endpoint: the last 50 requests got no answer \(number 56"
    ):
        run(store, echo)
    assert len(echo.asked) == 7 + UNANSWERED
    assert len(read_parts(store, "replies", SCHEMA)) == 7


def test_nothing_to_do_starts_nothing(store: Store) -> None:
    lines: list[str] = []
    assert run(store, Echo(), end=0, log=lines.append) == [] and lines == []


def test_a_record_that_was_committed_twice_counts_once(store: Store) -> None:
    record = Numbers().record(Reply("1", "{}", "first", "stop", 1, 1))
    for rows in ([record], [record, record | {"id": "2"}]):
        writer = PartWriter(store, "replies", SCHEMA)
        writer.add(rows)
        writer.close()
    assert sorted(read_parts(store, "replies", SCHEMA).column("id").to_pylist()) == ["1", "2"]


def test_of_other_records_only_the_ids_are_read(store: Store) -> None:
    writer = PartWriter(store, "replies", SCHEMA)
    writer.add([Numbers().record(Reply(id, "{}", id, "stop", 1, 1)) for id in ("1", "2", "3")])
    writer.close()
    others = PartWriter(store, "replies", pa.schema([SCHEMA.field("id")]))
    others.add([{"id": "4"}])
    others.close()
    assert read_parts(store, "replies", SCHEMA, {"3", "1", "9"}).column("reply").to_pylist() == [
        *("1", "3")
    ]
    assert len(read_parts(store, "replies", SCHEMA, {"9"})) == 0


def test_time_left_follows_the_work_that_is_left() -> None:
    """Two requests of 100 tokens of work each in 10 s: the 800 that are left take 40 s."""
    lines: list[str] = []
    times = iter([10.0])
    row = {"reply_tokens": 5, "problem": "", "seconds": 10.0, "length": 100}
    progress = Progress(
        "probes", 10, lines.append, 1000.0, lambda row: row["length"], lambda: next(times)
    )
    progress.add([row, row])
    assert lines == ["probes: 2/10 20% | 1 tok/s | 40s left | 0 rejected"]


@pytest.mark.parametrize(
    ("tokens", "window", "is_over"),
    [(60, 64, False), (61, 64, True), (61, None, False), (0, 2, False)],
)
def test_a_prompt_is_over_length_if_its_longest_reply_does_not_fit(
    tokens: int, window: int | None, is_over: bool
) -> None:
    request = Request("a", Sampling(4, 0.0), 1, prompt_ids=[7] * tokens)
    assert (over_length(request, window) is not None) == is_over


def test_requests_and_replies_travel_as_rows() -> None:
    request = Request("a", Sampling(4, 0.5, stop=("x",)), 3, prompt_ids=[1, 2], carry='{"b": 1}')
    failed = Reply.failed(request, "over_length", "too long")
    table = pa.Table.from_pylist([request.row()])
    assert Request.from_row(table.to_pylist()[0]) == request
    for reply in (failed, Reply("a", "{}", "text", "length", 2, 4, seconds=0.5)):
        assert Reply.from_row(pa.Table.from_pylist([reply.row()]).to_pylist()[0]) == reply
