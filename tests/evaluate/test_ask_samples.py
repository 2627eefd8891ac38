"""Models with known scores through the whole path of asking: cells, resumption, and prompts that do not fit."""

from collections import defaultdict
from dataclasses import astuple, dataclass, replace
from itertools import groupby
from pathlib import Path

import pytest

from longspan.errors import UserError
from longspan.evaluate import metrics
from longspan.evaluate.aggregate import TaskInfo, task_result
from longspan.evaluate.ask import ask_samples
from longspan.evaluate.grid import SampleGrid, pending
from longspan.evaluate.records import read_records, records_path
from longspan.evaluate.results import SampleRecord
from longspan.evaluate.samples import ProbeSource, Sample
from longspan.generate.endpoint import EndpointClient
from longspan.generate.generators import EndpointGenerator, InProcessGenerator, TextGenerator
from longspan.generate.requests import Reply, Request
from longspan.hashing import uniform
from longspan.storage import Store
from tests.evaluate.fake_models import (
    QUESTION,
    Bytes,
    Codes,
    FakeServer,
    Model,
    coin,
    empty,
    fake_source,
    last,
    perfect,
)

SOURCE = fake_source()
GRID = SampleGrid(
    (Codes("one"), Codes("two", codes=2, max_tokens=32)), (256, 512, 1024), 5, SOURCE, "m"
)
FACT_TOKENS = len("The code is 123456.")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def in_process(server: FakeServer, window: int | None = None) -> TextGenerator:
    return InProcessGenerator(EndpointClient(server.access(window)))


def run(
    store: Store, model: Model, grid: SampleGrid = GRID, folder: str = "e"
) -> list[SampleRecord]:
    with FakeServer(model) as server:
        return ask_samples(grid, in_process(server), store, folder, lambda line: None).records


def cells(records: list[SampleRecord]) -> dict[tuple[str, int, float | None], float]:
    """Mean score by task, length and depth."""
    found = defaultdict(list)
    for record in records:
        assert record.score is not None and not record.problem
        found[record.task, record.length, record.depth].append(record.score)
    return {cell: sum(scores) / len(scores) for cell, scores in found.items()}


@pytest.mark.parametrize(("model", "score"), [(perfect, 1.0), (empty, 0.0)])
def test_a_model_that_finds_everything_or_nothing_has_that_score_in_every_cell(
    store: Store, model: Model, score: float
) -> None:
    found = cells(run(store, model))
    assert len(found) == 2 * 3 * 5 and set(found.values()) == {score}


def test_a_model_that_sees_the_last_tokens_finds_what_is_in_them(store: Store) -> None:
    """Its score by depth follows from the length: the fact begins at depth * rest."""
    grid = replace(GRID, tasks=(Codes("one"),))
    found = cells(run(store, last(200), grid))
    for (_, length, depth), score in found.items():
        assert depth is not None
        prompt = length - 16
        start = round(depth * (prompt - FACT_TOKENS - len(QUESTION)))
        assert score == float(start >= prompt - 200), (length, depth)
    # At 256 the lower three of five depths are seen, at 1,024 only the last one.
    assert [sum(s for (_, n, _), s in found.items() if n == each) for each in GRID.lengths] == [
        4,
        2,
        1,
    ]


@pytest.mark.parametrize("window", [256, 512])
def test_the_effective_length_of_a_model_is_what_it_sees(store: Store, window: int) -> None:
    task = Codes("one")
    records = run(store, last(window), replace(GRID, tasks=(task,), samples=10))
    info = TaskInfo(task.name, task.version, task.family, task.scoring)
    assert task_result(info, records, seed=0).effective_length == window


def test_a_model_that_finds_one_of_two_codes_has_half_of_the_score(store: Store) -> None:
    tasks = (Codes("all", codes=2), Codes("any", codes=2, scoring="contains_any"))
    found = cells(run(store, lambda prompt: perfect(prompt)[:6], replace(GRID, tasks=tasks)))
    assert {score for (task, *_), score in found.items() if task == "all"} == {0.5}
    assert {score for (task, *_), score in found.items() if task == "any"} == {1.0}


def test_a_model_of_chance_has_the_score_of_its_coin(store: Store) -> None:
    grid = replace(GRID, tasks=(Codes("one"),), lengths=(256,), samples=80)
    records = run(store, coin(0.7), grid)
    mean = sum(record.score or 0.0 for record in records) / 80
    assert abs(mean - 0.7) < 4 * (0.7 * 0.3 / 80) ** 0.5
    texts = [grid.tasks[0].sample(SOURCE, 256, index).text for index in range(80)]
    assert [record.score for record in records] == [
        float(uniform("coin", text) < 0.7) for text in texts
    ]


def test_a_record_says_what_was_asked_and_answered(store: Store) -> None:
    (record, *_) = run(store, perfect)
    sample = GRID.tasks[0].sample(SOURCE, 256, 0)
    assert record == read_records(store, "e", "one")[0]
    assert (record.task, record.length, record.index, record.depth) == ("one", 256, 0, 0.0)
    assert record.references == list(sample.references) == [record.reply]
    assert record.id == sample.id and record.cluster == sample.cluster
    assert record.prompt_tokens == 240 and record.reply_tokens == 6
    assert record.evidence_text == f"The code is {record.reply}." == record.prompt_head[:19]
    assert record.prompt_tail.endswith(QUESTION) and not record.truncated


def test_a_reply_that_was_cut_off_is_marked(store: Store) -> None:
    records = run(store, lambda prompt: "x" * 99)
    assert all(record.truncated for record in records)


def test_what_is_recorded_is_not_asked_again_and_the_first_samples_stay(store: Store) -> None:
    few = replace(GRID, samples=2)
    with FakeServer(perfect) as server:
        generator = in_process(server)
        first = ask_samples(few, generator, store, "e", lambda line: None).records
        assert server.asked.total() == len(first) == 12
        more = ask_samples(GRID, generator, store, "e", lambda line: None).records
        assert len(more) == 30 and set(server.asked.values()) == {1}
        assert [record for record in more if record.index < 2] == first
        lines: list[str] = []
        assert ask_samples(GRID, generator, store, "e", lines.append).records == more
        assert server.asked.total() == 30 and lines == []


def test_another_model_or_temperature_or_salt_is_asked_for_itself(store: Store) -> None:
    run(store, empty)
    for grid in (
        replace(GRID, model="other"),
        replace(GRID, temperature=0.5),
        replace(
            GRID, tasks=(Codes("one", salt="x"), Codes("two", codes=2, max_tokens=32, salt="x"))
        ),
        replace(GRID, form="chat"),
    ):
        assert set(cells(run(store, perfect, grid)).values()) == {1.0}


def test_samples_on_a_document_are_asked_for_together_the_longest_first() -> None:
    keys = pending(GRID, GRID.sample_keys(), frozenset())
    assert keys[0].length == 1024 and sorted(keys, key=astuple) == sorted(
        GRID.sample_keys(), key=astuple
    )
    documents = [GRID.tasks[0].context_id(SOURCE, key.index) for key in keys]
    assert [document for document, _ in groupby(documents)] == sorted(set(documents))
    for _, own in groupby(keys, lambda key: (key.task, key.index)):
        assert [key.length for key in own] == [1024, 512, 256]
    # What is recorded is left out; the order is a function of the others alone.
    done = {name for names in GRID.recorded_as(keys[:7]).values() for name in names[:1]}
    left = pending(GRID, keys, done)
    assert left == pending(GRID, list(reversed(keys[7:])), frozenset()) and len(left) == 23


def test_a_sample_that_cannot_be_made_is_counted_and_the_others_are_asked(store: Store) -> None:
    class Short(Codes):
        """Lacks text at the second of five depths, and meets a control token at the third."""

        def sample(self, source: ProbeSource, length: int, index: int) -> Sample:
            if index == 1:
                raise UserError("corpora: 240 tokens of context are asked for")
            return super().sample(source, length, index)

    @dataclass(frozen=True)
    class Refusing(Bytes):
        def prompt_ids(self, text: str, answer_prefix: str) -> list[int]:
            if text.count("*", 0, text.index("The")) in range(60, 130):
                raise UserError("evaluate: a prompt spells out the control token '<|im_end|>'")
            return super().prompt_ids(text, answer_prefix)

    source = replace(SOURCE, format=Refusing())
    grid = replace(GRID, tasks=(Short("short"),), lengths=(256,), samples=4, source=source)
    with FakeServer(perfect) as server:
        records = ask_samples(grid, in_process(server), store, "e", lambda line: None).records
        assert server.asked.total() == 2
        again = ask_samples(grid, in_process(server), store, "e", lambda line: None).records
        assert again == records and server.asked.total() == 2
    assert [record.score for record in records] == [1.0, None, None, 1.0]
    assert records[1].problem == "unmeasurable: corpora: 240 tokens of context are asked for"
    assert records[2].problem.startswith("unmeasurable: evaluate: a prompt spells out")
    info = TaskInfo("short", 1, "retrieval", "contains_all")
    cell = task_result(info, records, seed=0).cells[0]
    assert cell.unmeasurable == 2 and cell.score and cell.score.n == 2
    assert cell.prompt_tokens == (240, 240, 240) and cell.refused == cell.unanswered == 0


def test_a_task_is_not_asked_again_which_lengths_it_has(store: Store) -> None:
    """It may have to make samples to say so."""
    asked: list[int] = []

    class Slow(Codes):
        def problem(self, source: ProbeSource, length: int) -> str | None:
            asked.append(length)
            return super().problem(source, length)

    grid = replace(GRID, tasks=(Slow("slow"),), lengths=(64, 256))
    first = run(store, perfect, grid)
    assert asked == [64, 256]
    assert run(store, empty, grid) == first and asked == [64, 256, 64]


def test_samples_without_any_context_are_asked_for_too(store: Store) -> None:
    """Their length is 0: neither the size of a task nor the time left is derived from that alone."""

    class Closed(Codes):
        def problem(self, source: ProbeSource, length: int) -> str | None:
            return None

        def sample(self, source: ProbeSource, length: int, index: int) -> Sample:
            return replace(
                super().sample(source, 128, index), length=0, id=self.sample_id(source, 0, index)
            )

    grid = replace(GRID, tasks=(Closed("closed"),), lengths=(0,))
    assert cells(run(store, perfect, grid)).keys() == {
        ("closed", 0, depth / 4) for depth in range(5)
    }


def test_a_length_that_a_task_has_no_samples_of_is_left_out(store: Store) -> None:
    lines: list[str] = []
    with FakeServer(perfect) as server:
        grid = replace(GRID, lengths=(64, 256))
        asked = ask_samples(grid, in_process(server), store, "e", lines.append)
        again = ask_samples(grid, in_process(server), store, "e", lines.append)
    assert lines[0] == "probes: one at 64 tokens is left out: too short"
    assert {record.length for record in asked.records} == {256}
    names = [(each.task, each.length, each.reason) for each in asked.left_out]
    assert names == [("one", 64, "too short"), ("two", 64, "too short")]
    assert again == asked


def test_a_prompt_that_does_not_fit_is_never_sent_nor_scored_until_the_window_grows(
    store: Store,
) -> None:
    """The window is one token short of the longest samples."""
    with FakeServer(perfect) as server:
        narrow = replace(GRID, window=1023)
        records = ask_samples(
            narrow, in_process(server, 1023), store, "e", lambda line: None
        ).records
        over = [record for record in records if record.length == 1024]
        assert len(over) == 10 and server.asked.total() == 20
        assert {record.score for record in over} == {None}
        assert over[0].problem == (
            "over_length: 1,008 tokens of prompt and up to 16 of reply are more than the window of 1,023 tokens"
        )
        assert over[0].prompt_tokens == 1008
        lines: list[str] = []
        assert (
            ask_samples(narrow, in_process(server, 1023), store, "e", lines.append).records
            == records
        )
        assert lines == []
        wide = replace(GRID, window=1024)
        records = ask_samples(wide, in_process(server, 1024), store, "e", lambda line: None).records
        assert set(cells(records).values()) == {1.0} and set(server.asked.values()) == {1}


def test_requests_without_an_answer_are_made_again(store: Store) -> None:
    with FakeServer(perfect) as server:
        server.busy = 7
        records = ask_samples(GRID, in_process(server), store, "e", lambda line: None).records
        missing = [record for record in records if record.problem]
        assert len(missing) == 7 and all(record.score is None for record in missing)
        assert missing[0].problem == "unanswered: no answer from the endpoint (status 503)"
        assert read_records(store, "e", missing[0].task) != []
        records = ask_samples(GRID, in_process(server), store, "e", lambda line: None).records
    assert set(cells(records).values()) == {1.0} and set(server.asked.values()) == {1}


def test_a_model_that_is_not_there_ends_it(store: Store) -> None:
    with FakeServer(perfect) as server:
        server.key = "secret"
        with pytest.raises(UserError, match=r"^endpoint: .* refuses access \(status 401\)"):
            ask_samples(GRID, in_process(server), store, "e", lambda line: None)


def test_evaluations_of_a_model_share_its_replies(store: Store) -> None:
    first = run(store, perfect, folder="a")
    with FakeServer(empty) as server:
        again = ask_samples(GRID, in_process(server), store, "b", lambda line: None).records
        assert server.asked.total() == 0
        other = replace(GRID, model="other")
        ask_samples(other, in_process(server), store, "b", lambda line: None)
        assert server.asked.total() == 30
    assert again == first == read_records(store, "a", "one") + read_records(store, "a", "two")


def test_scores_are_those_of_the_metrics_as_they_are_now(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(store, perfect)
    path = records_path("e", "one")
    written = store.read_bytes(path)
    monkeypatch.setattr(metrics, "score", lambda scoring, reply, references: 0.25)
    assert run(store, empty) == [record.model_copy(update={"score": 0.25}) for record in first]
    monkeypatch.undo()
    assert run(store, empty) == first and store.read_bytes(path) == written


def test_a_refusal_is_asked_again_with_another_window_only(store: Store) -> None:
    """The engine checks requests before it computes them, so that it refuses the same ones each time."""
    asked: list[str] = []

    class Refusing:
        def respond(self, request: Request) -> Reply:
            asked.append(request.id)
            return Reply.failed(request, "refused", "ValueError: no")

    generator = InProcessGenerator(Refusing())
    grid = replace(GRID, tasks=(Codes("one"),), lengths=(256,), window=1024)
    records = ask_samples(grid, generator, store, "e", lambda line: None).records
    assert {record.problem for record in records} == {"refused: ValueError: no"}
    assert ask_samples(grid, generator, store, "e", lambda line: None).records == records
    assert len(asked) == 5
    ask_samples(replace(grid, window=2048), generator, store, "e", lambda line: None)
    assert len(asked) == 10
    assert set(cells(run(store, perfect, replace(grid, window=4096))).values()) == {1.0}
    # A reply is good for any window.
    assert set(cells(run(store, empty, grid)).values()) == {1.0}


def test_an_error_of_the_engine_is_no_refusal_and_is_asked_again(store: Store) -> None:
    class Failing:
        def respond(self, request: Request) -> Reply:
            return Reply.failed(request, "engine_error", "RuntimeError: out of memory")

    grid = replace(GRID, tasks=(Codes("one"),), lengths=(256,), samples=4)
    run(store, perfect, replace(grid, samples=3))
    for _ in range(2):
        generator = InProcessGenerator(Failing())
        records = ask_samples(grid, generator, store, "e", lambda line: None).records
        problems = [record.problem for record in records]
        assert problems == ["", "", "", "unanswered: RuntimeError: out of memory"]
    assert set(cells(run(store, perfect, grid)).values()) == {1.0}


def test_a_user_s_turn_is_sent_as_such(store: Store) -> None:
    grid = replace(GRID, form="chat", window=1024)
    assert set(cells(run(store, perfect, grid)).values()) == {1.0}


@pytest.mark.real
def test_ray_makes_the_same_samples_and_the_same_files(
    store: Store, tmp_path: Path, ray_session: str
) -> None:
    run(store, last(300), folder="e")
    other, lines = Store(str(tmp_path / "other")), []
    with FakeServer(last(300)) as server:
        generator = EndpointGenerator(server.access())
        ask_samples(GRID, generator, other, "e", lines.append)
        assert set(server.asked.values()) == {1}
    for task in GRID.tasks:
        path = records_path("e", task.name)
        assert store.read_bytes(path) == other.read_bytes(path)
    assert lines[0] == "probes: 30 requests" and lines[-1].startswith("probes: 30/30 100% | ")
