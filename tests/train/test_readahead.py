import threading

import pytest

from longspan.train.data.readahead import ReadAhead


def test_gives_every_item_in_order_and_ends() -> None:
    assert list(ReadAhead(iter(range(5)))) == [0, 1, 2, 3, 4]
    assert list(ReadAhead(iter(()))) == []


def test_is_one_item_ahead_and_no_more() -> None:
    fetched = [threading.Event() for _ in range(3)]

    def items():
        for event in fetched:
            event.set()
            yield event

    ahead = ReadAhead(items())
    assert fetched[0].wait(5), "the first is fetched before anyone asks"
    assert not fetched[1].is_set()
    next(ahead)
    assert fetched[1].wait(5)
    ahead.close()
    assert not fetched[2].is_set()


def test_a_failure_comes_in_its_items_place() -> None:
    def items():
        yield "good"
        raise ValueError("bad")

    ahead = ReadAhead(items())
    assert next(ahead) == "good"
    with pytest.raises(ValueError, match="bad"):
        next(ahead)
