import math
import os
import tempfile
from itertools import count

import pytest

from longspan.errors import UserError
from longspan.observe.scalars import scalars
from longspan.observe.tensorboard import TensorBoard
from longspan.storage.store import Store


def read_back(store, path="tb"):
    """Scalars by tag as TensorBoard itself shows them: lists of (update, value)."""
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

    multiplexer = EventMultiplexer().AddRunsFromDirectory(store.uri(path), name="run")
    multiplexer.Reload()
    run = next(iter(multiplexer.Runs()))
    return {
        tag: [(event.step, event.value) for event in multiplexer.Scalars(run, tag)]
        for tag in multiplexer.Runs()[run]["scalars"]
    }


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "store"))


def test_tensorboard_shows_what_was_logged(store, make_run):
    board = TensorBoard(store, "tb")
    for record in make_run(3, {1: 1024}):
        board.log(record)
    board.log({"kind": "event", "update": 3, "time": 9.0, "event": "exported", "path": "x"})
    board.close()
    shown = read_back(store)
    assert [update for update, _ in shown["train/loss"]] == [1, 2, 3]
    assert shown["source_tokens/code"][0] == (1, 2048.0)
    assert [update for update, _ in shown["heldout/loss"]] == [0, 3]
    assert shown["heldout_original/loss/books"] == [(0, pytest.approx(2.4))]
    assert len([tag for tag in shown if tag.startswith("heldout_by_position/")]) == 5
    assert "speed/mfu" not in shown


def test_the_file_is_there_while_the_run_goes_on(store, make_run):
    board = TensorBoard(store, "tb", seconds=30, clock=count(step=20).__next__)
    for record in make_run(7, {1: 1024})[2:-1]:
        board.log(record)
    assert 2 <= len(read_back(store)["train/loss"]) < 7
    board.close()
    assert len(read_back(store)["train/loss"]) == 7
    assert len(store.list("tb")) == 1


def test_a_resumed_run_replaces_the_updates_that_it_repeats(store, make_run):
    for first, last in ((0, 4), (2, 5)):
        board = TensorBoard(store, "tb", first_update=first)
        for record in make_run(5, {1: 1024}):
            if record["kind"] == "update" and first < record["update"] <= last:
                board.log(record)
        board.close()
    assert len(store.list("tb")) == 2
    assert [update for update, _ in read_back(store)["train/loss"]] == [1, 2, 3, 4, 5]


def test_a_loss_that_is_no_number_is_shown_as_such(store):
    board = TensorBoard(store, "tb")
    board.log({"kind": "update", "update": 1, "time": 1.0, "loss": math.nan})
    board.close()
    assert math.isnan(read_back(store)["train/loss"][0][1])


def test_a_store_that_fails_is_told_of_and_does_not_stop_the_run(store, make_run, tmp_path):
    said = []
    board = TensorBoard(store, "tb", seconds=0, warn=said.append)
    (tmp_path / "store").write_text("in the way")
    for record in make_run(3, {1: 1024}):
        board.log(record)
    assert len(said) == 1
    with pytest.raises(UserError):
        board.close()


def test_events_have_no_scalars():
    assert scalars({"kind": "event", "update": 1, "event": "checkpoint"}) == {}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_full_local_disk_is_a_gap_in_the_curves(store, make_run, small_disk, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    said = []
    board = TensorBoard(store, "tb", seconds=10, clock=count().__next__, warn=said.append)
    update = dict(make_run(3, {1: 1024})[2])
    for number in range(1, 301):
        if number == 100:
            room = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
            (small_disk / "filler").write_bytes(bytes(room))
        if number == 200:
            (small_disk / "filler").unlink()
        board.log(update | {"update": number})
    board.close()
    assert len(said) >= 1
    assert "No space left" in said[0]
    shown = {number for number, _ in read_back(store)["train/loss"]}
    assert shown >= {*range(1, 50), *range(250, 301)}
    assert 150 not in shown
