"""Best-fit packing: nothing is lost, nothing is cut that fits in a row, and little is padding."""

import sysconfig
from collections import defaultdict
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from longspan.order.packing import Spans, best_fit, documents_cut

LENGTHS = st.lists(st.integers(1, 200), min_size=1, max_size=80)


def parts(spans: Spans) -> list[tuple[int, int, int]]:
    columns = (spans.documents, spans.starts, spans.stops)
    return list(zip(*(column.tolist() for column in columns), strict=True))


@given(LENGTHS, st.integers(1, 100))
def test_every_token_is_in_one_row_and_short_documents_are_whole(
    lengths: list[int], length: int
) -> None:
    packed = best_fit(Spans.whole(np.array(lengths)), length)
    found: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for row in range(len(packed)):
        held = parts(packed.row(row))
        assert 0 < sum(stop - start for _, start, stop in held) <= length
        for document, start, stop in held:
            found[document].append((start, stop))
    for document, size in enumerate(lengths):
        pieces = sorted(found[document])
        assert [start for start, _ in pieces] == [0, *(stop for _, stop in pieces[:-1])]
        assert pieces[-1][1] == size
        assert size > length or len(pieces) == 1


@given(LENGTHS, st.integers(1, 100))
def test_no_two_rows_of_whole_documents_would_fit_into_one(lengths: list[int], length: int) -> None:
    lengths = [min(size, length) for size in lengths]
    packed = best_fit(Spans.whole(np.array(lengths)), length)
    filled = sorted(int(packed.row(row).lengths.sum()) for row in range(len(packed)))
    assert len(filled) < 2 or filled[0] + filled[1] > length


@given(LENGTHS, st.integers(1, 100), st.integers(1, 100), st.data())
def test_what_is_left_of_a_window_is_all_that_was_not_taken(
    lengths: list[int], first: int, second: int, data: st.DataObject
) -> None:
    packed = best_fit(Spans.whole(np.array(lengths)), first)
    taken = np.array(sorted(data.draw(st.sets(st.integers(0, len(packed) - 1)))), int)
    left = packed.without(taken)
    again = best_fit(left, second)
    tokens = [
        (document, token)
        for spans in (*(packed.row(int(row)) for row in taken), again.spans)
        for document, start, stop in parts(spans)
        for token in range(start, stop)
    ]
    assert len(tokens) == len(set(tokens)) == sum(lengths)
    joined = parts(left)
    assert not {(d, stop) for d, _, stop in joined} & {(d, start) for d, start, _ in joined}


@given(LENGTHS, st.integers(1, 100))
def test_documents_that_concatenation_cuts(lengths: list[int], length: int) -> None:
    begin, cut = 0, 0
    for size in lengths:
        end = begin + size
        inside = any(begin < border < end for border in range(0, end, length))
        cut += inside and size <= length
        begin = end
    long = sum(size > length for size in lengths)
    assert documents_cut(np.array(lengths), length, "concatenate") == (cut, long)
    assert documents_cut(np.array(lengths), length, "best_fit") == (0, long)


def test_long_documents_alone_leave_no_more_than_a_row_unfilled() -> None:
    sizes = np.random.default_rng(1).integers(2_000, 30_000, 40)
    packed = best_fit(Spans.whole(sizes), 1024)
    assert len(packed) == -(-int(sizes.sum()) // 1024)


def test_padding_of_real_text_stays_below_a_thousandth() -> None:
    length = 4096
    modules = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    paragraphs = [part for path in modules for part in path.read_bytes().split(b"\n\n")]
    # About four bytes a token; a window holds a thousand rows or more.
    sizes = np.array([len(part) // 4 + 1 for part in paragraphs] * 12)
    assert sizes.sum() > 1024 * length
    packed = best_fit(Spans.whole(sizes), length)
    padding = len(packed) * length - sizes.sum()
    assert padding / sizes.sum() <= 0.001
