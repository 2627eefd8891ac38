"""The checker knows one undisturbed run, however often it was stopped, and finds what is not."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longspan.history.check import Finding, check, compare
from longspan.history.cuts import cuts_of
from longspan.history.log import HistoryLog
from longspan.history.records import Facts
from longspan.history.starts import read_history
from longspan.shards.token_shards import read_index
from longspan.storage import Store
from longspan.stream.batch import Batch
from longspan.stream.packed_order import packed_order
from longspan.stream.plan import StreamPlan, local_batches
from longspan.stream.row import Row
from tests.in_process import main_of
from tests.sources import make_source, order_of

Start = tuple[int, int, int]
"""Workers, first update, and the update before which it ends."""
Tamper = Callable[[Batch], Batch | None]

UPDATES = 40


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> StreamPlan:
    store = Store(str(tmp_path_factory.mktemp("history")))
    sources = (make_source(store, "a", 300, 200, 1), make_source(store, "b", 40, 100, 2))
    return StreamPlan(store, sources, order_of(sources), first_update=0, document_mask=True)


def run(
    plan: StreamPlan, folder: Path, starts: Sequence[Start], tamper: Tamper = lambda batch: batch
) -> Store:
    """Record what the workers of each start are given; the last start is tampered with."""
    store = Store(str(folder))
    for number, (workers, first, end) in enumerate(starts):
        for rank in range(workers):
            facts = Facts(f"{number:04d}", first, rank, workers, "order", "concatenate", ("a", "b"))
            log = HistoryLog(store, "history", facts, warn=pytest.fail)
            for batch in local_batches(replace(plan, first_update=first), rank, workers):
                if batch.update == end:
                    break
                given = tamper(batch) if number == len(starts) - 1 else batch
                if given is not None:
                    log.add(given)
            log.flush()
    return store


def finding(*arguments, **options) -> Finding:
    return check(read_history(run(*arguments, **options)))


@pytest.fixture(scope="module")
def undisturbed(plan: StreamPlan, tmp_path_factory: pytest.TempPathFactory) -> Finding:
    """The whole run, by one worker."""
    return finding(plan, tmp_path_factory.mktemp("once"), [(1, 0, UPDATES)])


@st.composite
def disturbed(draw: st.DrawFn) -> list[Start]:
    """Any number of starts that go on from any update done before, to the end of the run."""
    starts: list[Start] = []
    first = 0
    for _ in range(draw(st.integers(0, 3))):
        end = draw(st.integers(first, UPDATES))
        starts.append((draw(st.integers(1, 9)), first, end))
        first = draw(st.integers(0, end))
    return [*starts, (draw(st.integers(1, 9)), first, UPDATES)]


def test_rows_that_workers_share_are_recorded_once(
    plan: StreamPlan, undisturbed: Finding, tmp_path: Path
) -> None:
    starts = [(4, 0, 15), (2, 15, UPDATES)]
    shared = finding(replace(plan, sequence_parallel=2), tmp_path / "shared", starts)
    assert shared.faults == ()
    assert not compare(shared, undisturbed)
    assert len(shared.rows) == plan.order.num_rows


@settings(max_examples=12, deadline=None)
@given(starts=disturbed())
def test_any_stops_and_sizes_are_one_undisturbed_run(
    plan: StreamPlan,
    undisturbed: Finding,
    tmp_path_factory: pytest.TempPathFactory,
    starts: list[Start],
) -> None:
    found = finding(plan, tmp_path_factory.mktemp("often"), starts)
    assert found.faults == ()
    assert (found.updates, len(found.rows)) == (UPDATES, plan.order.num_rows)
    assert found.starts == tuple(workers for workers, _, _ in starts)
    assert compare(found, undisturbed) == []


def without_a_row(batch: Batch) -> Batch:
    return replace(batch, rows=batch.rows[1:]) if batch.update == 11 else batch


def with_a_row_twice(batch: Batch) -> Batch:
    return replace(batch, rows=(*batch.rows, batch.rows[0])) if batch.update == 11 else batch


def with_rows(change: Callable[[Row], Row]) -> Tamper:
    def tamper(batch: Batch) -> Batch:
        return replace(batch, rows=tuple(map(change, batch.rows))) if batch.update == 11 else batch

    return tamper


def token_flipped(row: Row) -> Row:
    tokens = row.tokens.copy()
    tokens[3] ^= 1
    return replace(row, tokens=tokens)


@pytest.mark.parametrize(
    ("tamper", "fault"),
    [
        (without_a_row, r"^row 88 was given to nobody$"),
        (with_a_row_twice, r"^row 88 was given more than once$"),
        (with_rows(token_flipped), r"^row 88, 89, 90 and 5 more was not the same when done again$"),
        (
            with_rows(lambda row: replace(row, documents=np.roll(row.documents, 1))),
            r"was not the same when done again|resumes where none ended",
        ),
        (
            with_rows(
                lambda row: replace(row, documents=row.documents * 0, offsets=row.offsets * 0)
            ),
            r"a: document 0 was given twice in an epoch",
        ),
    ],
)
def test_what_is_not_one_run_is_found(
    plan: StreamPlan, tmp_path: Path, tamper: Tamper, fault: str
) -> None:
    found = finding(plan, tmp_path, [(2, 0, 15), (1, 10, 20)], tamper=tamper)
    assert any(re.search(fault, each) for each in found.faults), found.faults


def test_updates_that_a_checkpoint_covered_and_nobody_recorded(
    plan: StreamPlan, tmp_path: Path
) -> None:
    found = finding(plan, tmp_path, [(2, 0, 8), (2, 10, 20)])
    assert found.faults[0] == (
        "updates 9 to 10, which the next start took for done, are not on record of all workers of "
        "start 1 (0000)"
    )


def test_a_start_that_was_killed_counts_up_to_its_slowest_record(
    plan: StreamPlan, tmp_path: Path
) -> None:
    ahead = run(plan, tmp_path, [(1, 0, 6)])
    facts = Facts("0001", 6, 1, 2, "order", "concatenate", ("a", "b"))
    for rank, end in ((0, 12), (1, 9)):
        log = HistoryLog(ahead, "history", replace(facts, rank=rank), warn=pytest.fail)
        for batch in local_batches(replace(plan, first_update=6), rank, 2):
            if batch.update < end:
                log.add(batch)
        log.flush()
    found = check(read_history(ahead))
    assert (found.faults, found.updates) == ((), 9)


def test_two_runs_that_differ(plan: StreamPlan, tmp_path: Path) -> None:
    one = finding(plan, tmp_path / "one", [(1, 0, 12)])
    other = finding(plan, tmp_path / "other", [(1, 0, 12)], tamper=with_rows(token_flipped))
    assert other.faults == ()
    assert compare(one, other) == ["row 88, 89, 90 and 5 more differs between the two"]
    (different,) = compare(one, replace(other, order="another"))
    assert "different orders of data (order and another)" in different


def test_cut_documents_and_padding_are_counted(plan: StreamPlan, tmp_path: Path) -> None:
    plain = plan.order
    lengths = [
        lambda blocks, source=source: np.concatenate(
            [read_index(plan.store, source.train[block]).lengths for block in blocks]
        )
        for source in plan.manifests
    ]
    packed = replace(plan, order=packed_order(plain, lengths, 2000))
    once, best = (
        cuts_of(finding(each, tmp_path / name, [(2, 0, UPDATES)]).rows)
        for name, each in (("once", plan), ("best", packed))
    )
    assert once.padding == 0 < once.cut < once.fitting
    assert best.cut == 0 < best.padding < 0.05 * UPDATES * 256
    assert best.long > 0


def test_the_command(plan: StreamPlan, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(plan, tmp_path / "one", [(1, 0, UPDATES)])
    run(plan, tmp_path / "two", [(3, 0, 9), (2, 5, UPDATES)])
    run(plan, tmp_path / "bad", [(1, 0, 12)], tamper=without_a_row)

    assert main_of("check_history")([str(tmp_path / "one"), str(tmp_path / "two")]) == 0
    said = capsys.readouterr().out
    assert f"{tmp_path}/two: one undisturbed run" in said
    assert "2 starts with 3, then 2 workers; 32 rows done again" in said
    assert "the same, row for row, in 40 updates" in said

    assert main_of("check_history")([str(tmp_path / "bad")]) == 1
    assert "NOT one undisturbed run" in capsys.readouterr().out
