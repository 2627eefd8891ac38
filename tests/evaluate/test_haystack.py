"""Haystacks: sentences, places of evidence, and prompts of an exact length."""

from collections.abc import Sequence
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longspan.errors import UserError
from longspan.evaluate.haystack import (
    MAX_SENTENCE_CHARACTERS,
    Frame,
    Haystack,
    fill,
    haystack_of,
    most_units,
    place,
    split_sentences,
)
from longspan.evaluate.prompt_format import ChatFormat, CompletionFormat
from tests.evaluate.probe_fixtures import (
    byte_format,
    chat_format,
    completion_format,
    document,
    probe_source,
    prose,
)

FRAME = Frame("Read this.\n", "\nWhich one?", " The one")
WORDS = st.text("ab \n.!?\u3002\"'", max_size=400)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n\t", []),
        ("One. Two!  Three?\nFour", ["One.", "Two!", "Three?", "Four"]),
        ('He said "no." She left.', ['He said "no."', "She left."]),
        ("A line\nand another\n\nA title\n \nEnd", ["A line and another", "A title", "End"]),
        ("3.14 is pi. v1.2 too.", ["3.14 is pi.", "v1.2 too."]),
        ("\u4f60\u597d\u3002\u518d\u89c1\u3002", ["\u4f60\u597d\u3002", "\u518d\u89c1\u3002"]),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert split_sentences(text) == expected


@given(WORDS)
def test_sentences_have_every_character_but_white_space_and_a_bounded_length(text: str) -> None:
    found = split_sentences(text)
    assert "".join("".join(found).split()) == "".join(text.split())
    assert all(0 < len(sentence) <= MAX_SENTENCE_CHARACTERS for sentence in found)
    assert all(sentence == " ".join(sentence.split()) for sentence in found)


def test_text_without_any_end_of_a_sentence_is_split() -> None:
    assert max(map(len, split_sentences("word " * 1000))) <= MAX_SENTENCE_CHARACTERS
    assert [len(part) for part in split_sentences("x" * 700)] == [300, 300, 100]


def test_a_haystack_is_a_ring_of_all_documents() -> None:
    hay = Haystack([document(prose(number, count)) for number, count in ((1, 5), (2, 7))])
    assert len(hay) == 12
    passage = hay.passage(9)
    assert sorted(passage) == sorted(hay.sentences)
    assert tuple(passage[:4]) == (*hay.sentences[9:], hay.sentences[0])
    assert [hay.document_of(sentence) for sentence in (0, 4, 5, 11)] == [0, 0, 1, 1]
    assert [*hay.sentences_of(0), *hay.sentences_of(1)] == list(range(12))
    assert hay.contains("KEEPER") == ("keeper" in " ".join(hay.sentences).lower())
    assert not hay.contains("xylophone")


@given(
    st.lists(st.text("abc", min_size=1, max_size=9), max_size=30),
    st.lists(st.floats(0, 1), max_size=5),
)
def test_inserts_are_where_spans_say_and_as_deep_as_asked(
    units: list[str], depths: list[float]
) -> None:
    inserts = [(depth, f"<{number}>") for number, depth in enumerate(depths)]
    placed = place(units, inserts)
    assert [placed.text[start:end] for start, end in placed.spans] == [text for _, text in inserts]
    rest = placed.text
    for _, text in inserts:
        assert rest.count(text) == 1
    ends = [0, *accumulate(len(unit) + 1 for unit in units)]
    pieces = placed.text.split()
    assert [piece for piece in pieces if not piece.startswith("<")] == units
    for (depth, text), _ in zip(inserts, placed.spans, strict=True):
        before = sum(not piece.startswith("<") for piece in pieces[: pieces.index(text)])
        target = depth * ends[-1]
        assert abs(ends[before] - target) == pytest.approx(min(abs(end - target) for end in ends))


def test_inserts_at_one_place_keep_their_order() -> None:
    placed = place(["a", "b"], [(1.0, "X"), (0.0, "Y"), (1.0, "Z")], "\n")
    assert placed.text == "Y\na\nb\nX\nZ"


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.data())
def test_most_units_is_the_largest_number_that_fits(sizes: list[int], data: st.DataObject) -> None:
    overhead = data.draw(st.integers(0, 50))
    budget = data.draw(st.integers(0, overhead + sum(sizes) + 10))
    guess = data.draw(st.integers(-5, 100))
    # Estimates may be exact, or of no use at all.
    factor = data.draw(st.sampled_from([1.0, 0.5, 0.01, 1.0, 1.0]))
    totals = [overhead, *(overhead + total for total in accumulate(sizes))]
    found = most_units(
        lambda units: totals[units],
        lambda unit: sizes[unit] * factor,
        budget,
        len(sizes),
        guess,
    )
    fitting = [units for units, total in enumerate(totals) if total <= budget]
    assert found == (fitting[-1] if fitting else None)


def test_few_whole_prompts_are_counted() -> None:
    """A prompt of 131,072 tokens takes half a second to count."""
    calls: list[int] = []

    def tokens_with(units: int) -> int:
        calls.append(units)
        return 100 + units * 21 + units // 50

    found = most_units(tokens_with, lambda _: 21, 131_072, 10_000, 6_400)
    assert found is not None
    assert tokens_with(found) <= 131_072 < tokens_with(found + 1)
    assert len(calls) - 2 <= 3


@pytest.mark.parametrize(
    "format",
    [completion_format(), chat_format(), byte_format()],
    ids=["completion", "chat", "bytes"],
)
@pytest.mark.parametrize("budget", [300, 1111, 4000])
def test_prompts_are_as_long_as_asked_to_less_than_a_sentence(
    format: CompletionFormat | ChatFormat, budget: int
) -> None:
    source = probe_source(format)
    units = haystack_of(source).passage(123)
    placed = fill(format, FRAME, units, [(0.5, "Here is the needle.")], budget)
    tokens = len(format.prompt_ids(placed.text, FRAME.answer_prefix))
    longest = max(format.count(f" {unit}") for unit in units)
    assert budget - longest < tokens <= budget
    ((start, end),) = placed.spans
    assert placed.text[start:end] == "Here is the needle."
    assert placed.text.startswith(FRAME.before) and placed.text.endswith(FRAME.after)


def test_what_cannot_be_filled_is_a_mistake_of_the_recipe() -> None:
    format, units = completion_format(), _units()
    with pytest.raises(UserError, match=r"probes.lengths: .* 10 tokens"):
        fill(format, FRAME, units, [], 10)
    with pytest.raises(UserError, match="corpora: 9,999 tokens"):
        fill(format, FRAME, units, [], 9_999)


def _units() -> Sequence[str]:
    return split_sentences(prose(1, 40))
