"""A checkpoint is opened only when it is whole, undamaged, and of this run."""

from dataclasses import replace
from pathlib import Path

import pytest

from longspan.errors import UserError
from longspan.train.checkpoint import CheckpointFacts, checkpoint_name, open_sealed, seal, update_of

FACTS = CheckpointFacts(
    update=7,
    world_size=2,
    zero_stage=2,
    order="abc",
    settings={"positions": "abf with RoPE base 500,000"},
)


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    """As Ray merges two ranks' folders."""
    for rank in range(2):
        part = tmp_path / f"part{rank}"
        (part / "state").mkdir(parents=True)
        (part / "state" / f"rank{rank}.pt").write_bytes(bytes([rank]) * 100)
        seal(part, rank, FACTS)
        for path in part.rglob("*"):
            if path.is_file():
                target = tmp_path / "whole" / path.relative_to(part)
                target.parent.mkdir(parents=True, exist_ok=True)
                path.rename(target)
    return tmp_path / "whole"


def test_a_whole_one_opens(sealed: Path) -> None:
    assert open_sealed(sealed, replace(FACTS, update=0)) == FACTS


def test_a_flipped_bit_is_found(sealed: Path) -> None:
    path = sealed / "state" / "rank1.pt"
    data = bytearray(path.read_bytes())
    data[50] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"rank1\.pt is damaged"):
        open_sealed(sealed, FACTS)


def test_a_flipped_bit_in_a_seal_is_found(sealed: Path) -> None:
    path = sealed / "seal-00001.json"
    path.write_bytes(path.read_bytes().replace(b'"update": 7', b'"update": 6'))
    with pytest.raises(UserError, match=r"seal-00001\.json is damaged"):
        open_sealed(sealed, FACTS)


def test_a_missing_file_and_a_missing_rank_are_found(sealed: Path) -> None:
    (sealed / "state" / "rank0.pt").unlink()
    with pytest.raises(UserError, match=r"rank0\.pt is missing"):
        open_sealed(sealed, FACTS)
    (sealed / "seal-00001.json").unlink()
    with pytest.raises(UserError, match="1 of 2 workers"):
        open_sealed(sealed, FACTS)


def test_an_unsealed_one_is_not_opened(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="never finished"):
        open_sealed(tmp_path, FACTS)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"world_size": 4},
            "workers: the checkpoint to continue from has 2, this run 4; undo the change, or choose",
        ),
        ({"zero_stage": 3}, r"training\.zero_stage: .* has 2, this run 3"),
        (
            {"settings": {"positions": "abf with RoPE base 8,000,000"}},
            "positions: the checkpoint to continue from has abf with RoPE base 500,000, this run abf",
        ),
        ({"order": "xyz"}, "name: the run to continue has another order of data"),
    ],
)
def test_another_run_s_is_refused_with_the_key_to_change(
    sealed: Path, change: dict, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        open_sealed(sealed, replace(FACTS, **change))


def test_names_sort_as_numbers() -> None:
    names = [checkpoint_name(update) for update in (2, 10, 100_000)]
    assert names == sorted(names)
    assert [update_of(name) for name in names] == [2, 10, 100_000]
