"""Checkpoints in a store: any ranks read what any ranks wrote; what is damaged or half there is never used."""

import re
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from longspan.errors import Unreachable, UserError
from longspan.storage import Store, sealed
from longspan.train.checkpoint.async_save import Saver
from longspan.train.checkpoint.checkpoints import CheckpointFacts, Checkpoints, Superseded
from longspan.train.checkpoint.fragments import KINDS, Fragment
from longspan.train.checkpoint.rank_files import SUFFIX, DamagedPart, read_parts, write_part
from tests.train.identity import identity

FACTS = CheckpointFacts(7, 6, "abc", identity())
SIZES = {"embed": 50, "norm": 3, "head": 21}


def state(sizes: dict[str, int], offset: float = 0.0) -> dict[str, dict[str, torch.Tensor]]:
    """Whole parameters; every number is another one."""
    return {
        name: {
            kind: torch.arange(size, dtype=torch.float32) + 1000 * number + 100 * place + offset
            for place, kind in enumerate(KINDS)
        }
        for number, (name, size) in enumerate(sizes.items())
    }


def dealt(whole: dict[str, dict[str, torch.Tensor]], cuts: list[int]) -> list[list[Fragment]]:
    """Every rank's views of the parameters laid end to end and cut at some places."""
    ranks, first = [], 0
    total = sum(len(tensors[KINDS[0]]) for tensors in whole.values())
    for last in [*sorted(cut % (total + 1) for cut in cuts), total]:
        fragments, at = [], 0
        for name, tensors in whole.items():
            size = len(tensors[KINDS[0]])
            start, stop = max(first - at, 0), min(last - at, size)
            if start < stop:
                views = {kind: tensor[start:stop] for kind, tensor in tensors.items()}
                fragments.append(Fragment(name, start, views))
            at += size
        ranks.append(fragments)
        first = last
    return ranks


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=5),
    written=st.lists(st.integers(0, 200), max_size=5),
    read=st.lists(st.integers(0, 200), max_size=5),
)
def test_any_ranks_read_what_any_ranks_wrote(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], written: list[int], read: list[int]
) -> None:
    named = {f"p{number}": size for number, size in enumerate(sizes)}
    folder = tmp_path_factory.mktemp("parts")
    store = Store(str(folder))
    parts = [
        write_part(fragments, folder / f"{rank}.safetensors", f"{rank}.safetensors")
        for rank, fragments in enumerate(dealt(state(named), written))
    ]
    found = state(named, offset=0.5)
    for fragments in dealt(found, read):
        read_parts(store, parts, fragments)
    for name, tensors in state(named).items():
        for kind, expected in tensors.items():
            assert torch.equal(found[name][kind], expected)


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def checkpoints(tmp_path: Path, lines: list[str]) -> Checkpoints:
    return Checkpoints(Store(str(tmp_path / "store")), "runs/x", lines.append)


def save(
    checkpoints: Checkpoints, update: int, ranks: int = 2, keep: int = 9, every: int | None = None
) -> None:
    savers = [
        Saver(checkpoints, rank, ranks, f"attempt-{update}", keep, every) for rank in range(ranks)
    ]
    checkpoints.acquire_lease(f"attempt-{update}")
    parts = dealt(state(SIZES, offset=update), [20] * (ranks - 1))
    for saver, fragments in zip(savers, parts, strict=True):
        saver.start(fragments, replace(FACTS, update=update))
    found = [saver.wait() for saver in savers]
    assert [saved and saved.failure for saved in found] == [None] * ranks


def updates(checkpoints: Checkpoints) -> list[int]:
    found = checkpoints.store.list("runs/x/checkpoints/update-*/**")
    return sorted({int(item.path.split("/")[3][7:]) for item in found})


def test_the_newest_is_the_latest(checkpoints: Checkpoints) -> None:
    assert checkpoints.latest() is None
    assert checkpoints.latest_update() == 0
    for update in (5, 10, 100):
        save(checkpoints, update)
    found = checkpoints.latest()
    assert found is not None
    assert found.facts == replace(FACTS, update=100)
    whole = state(SIZES)
    read_parts(checkpoints.store, found.parts, dealt(whole, [])[0])
    assert whole["head"]["master"][0] == state(SIZES, offset=100)["head"]["master"][0]


def test_the_copy_counts_not_what_comes_later(checkpoints: Checkpoints) -> None:
    whole, go = state(SIZES), threading.Event()
    saver = Saver(checkpoints, 0, 1, "attempt", 1, None)

    checkpoints.acquire_lease("attempt")

    def hold() -> None:
        assert go.wait(30)

    saver.start(dealt(whole, [])[0], FACTS, hold)
    assert saver.finished() is None
    for tensors in whole.values():
        for tensor in tensors.values():
            tensor.zero_()
    go.set()
    saver.wait()
    found = checkpoints.latest()
    assert found is not None
    read_parts(checkpoints.store, found.parts, dealt(whole, [])[0])
    assert torch.equal(whole["embed"]["exp_avg"], state(SIZES)["embed"]["exp_avg"])


def test_retention(checkpoints: Checkpoints) -> None:
    checkpoints.store.write_bytes("runs/x/checkpoints/update-0000003/broken/part-00000.json", b"")
    for update in range(5, 45, 5):
        save(checkpoints, update, keep=2, every=20)
    assert updates(checkpoints) == [20, 35, 40]


def test_an_attempt_that_was_broken_off_goes_when_another_is_whole(
    checkpoints: Checkpoints,
) -> None:
    folder = "runs/x/checkpoints/update-0000010"
    for name in ("broken/part-00000.safetensors", "broken/part-00000.json", "damaged.json"):
        checkpoints.store.write_bytes(f"{folder}/{name}", b"{}")
    save(checkpoints, 10)
    left = {item.path.removeprefix(f"{folder}/") for item in checkpoints.store.list(folder)}
    parts = {f"attempt-10.1/part-0000{rank}{end}" for rank in (0, 1) for end in (SUFFIX, ".json")}
    assert left == {"checkpoint.json", *parts}


def test_a_full_disk_is_a_failure_that_is_told(
    checkpoints: Checkpoints, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    saver = Saver(checkpoints, 0, 1, "attempt", 1, None)
    saver.start(dealt(state({"embed": 2**23}), [])[0], FACTS)
    saved = saver.wait()
    assert saved is not None
    assert re.search("cannot write a part in .*No space left on device", saved.failure or "")
    assert checkpoints.latest() is None


def test_a_rank_that_is_ahead_loses_nothing(checkpoints: Checkpoints) -> None:
    """Two checkpoints at one update, the second begun by a rank while the first is being tidied."""
    ahead = "runs/x/checkpoints/update-0000010/attempt-10.2/part-00001.safetensors"
    checkpoints.store.write_bytes(ahead, b"{}")
    save(checkpoints, 10)
    assert checkpoints.store.exists(ahead)


@pytest.mark.parametrize("what", ["missing", "short", "record"])
def test_half_a_checkpoint_is_passed_over(
    checkpoints: Checkpoints, lines: list[str], what: str
) -> None:
    save(checkpoints, 5)
    save(checkpoints, 10)
    folder = Path(checkpoints.store.root) / "runs/x/checkpoints/update-0000010"
    part, record = folder / "attempt-10.1" / "part-00001.safetensors", folder / "checkpoint.json"
    if what == "missing":
        part.unlink()
    elif what == "short":
        part.write_bytes(part.read_bytes()[:-1])
    else:
        record.write_bytes(record.read_bytes().replace(b"10", b"11", 1))
    assert checkpoints.latest_update() == 5
    assert "update-0000010" in lines[0]
    assert lines[0].endswith("falling back to the previous one")


@pytest.mark.parametrize(
    "change", ["part elsewhere", "part outside", "another update", "no number"]
)
def test_a_record_that_points_elsewhere_is_passed_over(
    checkpoints: Checkpoints, lines: list[str], tmp_path: Path, change: str
) -> None:
    """Of a run's folder its writer decides, and of nothing else: what a record names is in its own run."""
    save(checkpoints, 5)
    save(checkpoints, 10)
    (tmp_path / "other.safetensors").write_bytes(b"secret")
    checkpoints.store.write_bytes("runs/y/part.safetensors", b"secret")
    path = "runs/x/checkpoints/update-0000010/checkpoint.json"
    record = sealed.read(checkpoints.store, path)
    if change == "part elsewhere":
        record["parts"][0] |= {"path": "runs/y/part.safetensors", "bytes": 6}
    elif change == "part outside":
        record["parts"][0] |= {"path": str(tmp_path / "other.safetensors"), "bytes": 6}
    else:
        record["facts"]["update"] = 5 if change == "another update" else "../../../y"
    checkpoints.store.write_bytes(path, sealed.dumps(record))
    assert checkpoints.latest_update() == 5
    assert "update-0000010" in lines[0]


def test_folders_with_other_names_are_left_alone(checkpoints: Checkpoints) -> None:
    for update in (5, 10, 15):
        save(checkpoints, update)
    checkpoints.store.write_bytes("runs/x/checkpoints/update-mine/notes.txt", b"x")
    checkpoints.prune(1, None)
    assert checkpoints.store.exists("runs/x/checkpoints/update-mine/notes.txt")
    assert [each.facts.update for each in checkpoints._whole()] == [15]


def test_without_a_record_there_is_no_checkpoint(checkpoints: Checkpoints) -> None:
    save(checkpoints, 5)
    (Path(checkpoints.store.root) / "runs/x/checkpoints/update-0000005/checkpoint.json").unlink()
    assert checkpoints.latest() is None


def test_a_run_without_a_whole_checkpoint_is_no_new_run(checkpoints: Checkpoints) -> None:
    save(checkpoints, 5)
    (
        Path(checkpoints.store.root) / "runs/x/checkpoints/update-0000005/checkpoint.json"
    ).write_bytes(b"{}")
    with pytest.raises(UserError, match="the run has 1 checkpoints, and none of them is whole"):
        checkpoints.latest()


def test_a_job_that_another_one_has_taken_over_from_ends(checkpoints: Checkpoints) -> None:
    checkpoints.acquire_lease("first")
    saver = Saver(checkpoints, 0, 1, "first", 1, None)
    checkpoints.acquire_lease("second")
    saver.start(dealt(state(SIZES), [])[0], FACTS)
    with pytest.raises(Superseded, match="another job trains this run since second"):
        saver.wait()
    assert checkpoints.latest() is None


def test_what_cannot_be_deleted_is_no_failure(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no")

    checkpoints.acquire_lease("attempt")
    saver = Saver(checkpoints, 0, 1, "attempt", 1, None)
    monkeypatch.setattr(checkpoints, "prune", refuse)
    saver.start(dealt(state(SIZES), [])[0], FACTS)
    saved = saver.wait()
    assert saved is not None
    assert (saved.failure, saved.untidy) == (None, "no")
    assert checkpoints.latest_update() == FACTS.update


def test_a_flipped_bit_is_found_when_it_is_read_and_the_one_before_is_used(
    checkpoints: Checkpoints, lines: list[str]
) -> None:
    save(checkpoints, 5)
    save(checkpoints, 10)
    found = checkpoints.latest()
    assert found is not None
    path = Path(checkpoints.store.root) / found.parts[1].path
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedPart, match=r"part-00001\.safetensors is not what was written"):
        read_parts(checkpoints.store, found.parts, dealt(state(SIZES), [])[0])
    checkpoints.mark_corrupt(found, "it is damaged")
    assert checkpoints.latest_update() == 5
    # A later attempt may be whole.
    save(checkpoints, 10)
    assert checkpoints.latest_update() == 10


def test_a_rank_that_cannot_write_fails_the_checkpoint(
    checkpoints: Checkpoints,
) -> None:
    def full() -> None:
        raise OSError(28, "No space left on device")

    save(checkpoints, 5)
    first, second = (Saver(checkpoints, rank, 2, "attempt", 1, None) for rank in (0, 1))
    parts = dealt(state(SIZES), [20])
    second.start(parts[1], FACTS, full)
    first.start(parts[0], FACTS)
    failed = first.wait()
    assert failed is not None
    assert failed.failure == "worker 1: [Errno 28] No space left on device"
    assert checkpoints.latest_update() == 5


def test_a_part_that_will_never_come_is_not_waited_for(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise Unreachable("no answer")

    cut_off = Checkpoints(Store(checkpoints.store.root), "runs/x", print)
    monkeypatch.setattr(cut_off.store, "upload", gone)
    monkeypatch.setattr(cut_off.store, "write_bytes", gone)  # Nor can it say so.
    checkpoints.acquire_lease("attempt")
    first, second = (
        Saver(reached, rank, 2, "attempt", 1, None)
        for rank, reached in enumerate((checkpoints, cut_off))
    )
    parts = dealt(state(SIZES), [20])
    first.start(parts[0], FACTS)
    second.start(parts[1], FACTS)
    assert first.own_failure() is None
    assert second.own_failure() == "no answer"
    assert first.finished() is None
    failed = first.wait(f"worker 1: {second.own_failure()}")
    assert failed is not None
    assert failed.failure == "worker 1: no answer"
    # The next one is another try.
    save(checkpoints, 10)


def test_a_checkpoint_of_a_newer_version_is_not_taken_for_a_damaged_one(
    checkpoints: Checkpoints,
) -> None:
    for update in (5, 10):
        save(checkpoints, update)
    path = f"{checkpoints.folder(10)}/checkpoint.json"
    record = sealed.read(checkpoints.store, path)
    record["facts"]["run"] |= {"schema_version": 3, "of_later": 1}
    checkpoints.store.write_bytes(path, sealed.dumps(record))
    with pytest.raises(UserError) as raised:
        checkpoints.latest()
    assert str(raised.value) == (
        "name: the run's checkpoint was written by a newer version of Longspan (schema version 3, this "
        "one reads up to 2); use that version, or choose another name"
    )
