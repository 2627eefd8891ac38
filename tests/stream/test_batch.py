"""What one rank computes on: labels, positions, and the rows of weight zero."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longspan.shards.loss_mask import marked
from longspan.stream.batch import TokenWeights, collate, rank_share
from longspan.stream.row import PADDING, Row


def make_row(pieces: list[int], index: int = 7, update: int = 3) -> Row:
    """A row whose pieces have these lengths; its tokens are 100, 101, ..."""
    length = sum(pieces)
    starts = (np.cumsum(pieces) - pieces).astype(np.int32)
    numbers = np.arange(len(pieces))
    tokens = np.arange(100, 100 + length, dtype=np.int32)
    return Row(index, update, 2, tokens, starts, numbers, numbers, np.zeros_like(starts))


def test_documents_are_kept_apart() -> None:
    batch = collate(3, [make_row([3, 1, 2])], num_rows=1, length=6, document_mask=True)
    assert batch.tokens.tolist() == [[100, 101, 102, 103, 104, 105]]
    assert batch.labels.tolist() == [[101, 102, -100, -100, 105, -100]]
    assert batch.positions.tolist() == [[0, 1, 2, 0, 0, 1]]


def test_without_the_mask_a_row_is_one_text() -> None:
    batch = collate(3, [make_row([3, 1, 2])], num_rows=1, length=6, document_mask=False)
    assert batch.labels.tolist() == [[101, 102, 103, 104, 105, -100]]
    assert batch.positions.tolist() == [[0, 1, 2, 3, 4, 5]]


@pytest.mark.parametrize("document_mask", [True, False])
def test_padding_is_never_a_label(document_mask: bool) -> None:
    row = make_row([3, 1, 2])
    row = replace(row, documents=np.array([0, 1, PADDING]))
    batch = collate(3, [row], num_rows=1, length=6, document_mask=document_mask)
    after_two = -100 if document_mask else 103
    assert batch.labels.tolist() == [[101, 102, after_two, -100, -100, -100]]


def test_a_batch_is_completed_with_rows_that_do_not_count() -> None:
    rows = [make_row([4], index=8), make_row([1, 3], index=9)]
    batch = collate(3, rows, num_rows=4, length=4, document_mask=True)
    assert (batch.update, batch.length) == (3, 4)
    assert batch.indices.tolist() == [8, 9, -1, -1]
    assert batch.sources.tolist() == [2, 2, 0, 0]
    assert (batch.labels[2:] == -100).all()
    assert batch.tokens.shape == batch.labels.shape == batch.positions.shape == (4, 4)
    dtypes = [batch.tokens.dtype, batch.labels.dtype, batch.positions.dtype, batch.sources.dtype]
    assert dtypes == [np.int32] * 4
    assert batch.indices.dtype == np.int64


def test_a_rank_may_have_no_rows_at_all() -> None:
    batch = collate(3, [], num_rows=2, length=4, document_mask=True)
    assert batch.indices.tolist() == [-1, -1]
    assert (batch.labels == -100).all()


def test_a_row_of_another_update_or_length_is_refused() -> None:
    with pytest.raises(AssertionError, match="updates"):
        collate(4, [make_row([4])], num_rows=1, length=4, document_mask=True)
    with pytest.raises(AssertionError, match="row 7"):
        collate(3, [make_row([5])], num_rows=1, length=4, document_mask=True)


def talk(pieces: list[tuple[int, int]], source: int, padding: int = 0) -> Row:
    """A row of conversations, each of so many tokens of a prompt and then of an answer."""
    row = replace(make_row([prompt + answer for prompt, answer in pieces]), source=source)
    answers = np.concatenate([[False] * prompt + [True] * answer for prompt, answer in pieces])
    row = replace(row, tokens=marked(row.tokens, answers))
    if not padding:
        return row
    return replace(
        row,
        tokens=np.append(row.tokens, np.zeros(padding, np.int32)),
        starts=np.append(row.starts, np.int32(len(row.tokens))),
        documents=np.append(row.documents, PADDING),
    )


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ((0.0, 1.0), [[0, 1, 1, 0, 0, 1, 0, 0], [1, 1, 1, 0, 1, 1, 1, 0]]),
        ((0.25, 0.5), [[0.25, 1, 1, 0, 0.25, 1, 0, 0], [0.5, 1, 1, 0, 0.5, 0.5, 1, 0]]),
    ],
)
def test_answers_count_and_prompts_as_their_source_says(
    others: tuple[float, float], expected: list[list[float]]
) -> None:
    rows = [talk([(2, 2), (2, 1)], 0, padding=1), talk([(2, 2), (3, 1)], 1)]
    weights = TokenWeights(others)
    batch = collate(3, rows, num_rows=2, length=8, document_mask=True, weights=weights)
    assert batch.weights is not None and batch.weights.dtype == np.float32
    assert batch.weights.tolist() == expected
    assert ((batch.labels != -100) == (batch.weights > 0)).all()
    # Marks are of no token any more.
    assert batch.tokens[0].tolist() == [100, 101, 102, 103, 104, 105, 106, 0]
    counted = batch.labels != -100
    assert (batch.labels[counted] == np.roll(batch.tokens, -1, axis=1)[counted]).all()


def test_an_excluded_answer_counts_nothing_even_where_prompts_do() -> None:
    row = replace(make_row([4, 4]), source=0)
    answers = np.array([False, False, True, True, False, False, False, False])
    excluded = np.array([False, False, False, False, False, False, True, True])
    row = replace(row, tokens=marked(row.tokens, answers, excluded))
    for others, prompt in (((0.0,), 0), ((0.5,), 0.5)):
        weights = TokenWeights(others)
        batch = collate(3, [row], num_rows=1, length=8, document_mask=True, weights=weights)
        assert batch.weights is not None
        assert batch.weights.tolist() == [[prompt, 1, 1, 0, prompt, 0, 0, 0]]
        assert batch.tokens.tolist() == [list(range(100, 108))]


def test_every_document_may_count_the_same() -> None:
    rows = [talk([(1, 4), (2, 1)], 0), talk([(4, 4)], 0)]
    weights = TokenWeights((0.0,), per_sequence=True)
    batch = collate(3, rows, num_rows=3, length=8, document_mask=True, weights=weights)
    assert batch.weights is not None
    assert batch.weights[0].tolist() == [0.25] * 4 + [0, 0, 1, 0]
    assert batch.weights[1].tolist() == [0] * 3 + [0.25] * 4 + [0]
    assert batch.weights.sum() == 3


@given(st.integers(1, 200), st.integers(1, 70))
def test_the_ranks_share_every_row_once(rows: int, world_size: int) -> None:
    shares = [rank_share(rows, rank, world_size) for rank in range(world_size)]
    assert [number for numbers, _ in shares for number in numbers] == list(range(rows))
    assert {padded for _, padded in shares} == {-(-rows // world_size)}
    assert all(len(numbers) <= padded for numbers, padded in shares)
