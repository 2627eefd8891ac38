"""Associative needles share no word with their question, and one of them alone answers it."""

import re
from collections.abc import Callable
from itertools import pairwise

import pytest
from nltk.stem import PorterStemmer

from longspan.evaluate.documents import documents_hash
from longspan.evaluate.probes.association import (
    NAMES,
    TASKS,
    Association,
    associations,
    content_words,
)
from longspan.evaluate.samples import ProbeSource, PromptFormat
from tests.evaluate.probe_checks import check_sample, evidence_of
from tests.evaluate.probe_fixtures import (
    byte_format,
    chat_format,
    completion_format,
    document,
    probe_source,
    prose,
)

(TASK,) = TASKS
stem = PorterStemmer().stem


def related(one: str, other: str) -> bool:
    """Whether words are of one stem, or one stem contains the other."""
    first, second = str(stem(one)), str(stem(other))
    short, long = sorted((first, second), key=len)
    return short == long or (len(short) >= 4 and short in long)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("baker", "bakery", True),
        ("swims", "swimming", True),
        ("kneads", "baker", False),
        ("firefighter", "fire", True),
    ],
)
def test_words_of_one_stem_are_related(one: str, other: str, expected: bool) -> None:
    assert related(one, other) is expected


@pytest.mark.parametrize("pair", associations(), ids=lambda pair: pair.asks)
def test_a_needle_and_its_question_share_no_content_word(pair: Association) -> None:
    assert pair.needle.count("{name}") == 1 and pair.question.endswith("?")
    in_needle, in_question = content_words(pair.needle), content_words(pair.question)
    assert in_needle and in_question
    assert [(a, b) for a in in_needle for b in in_question if related(a, b)] == []


def test_each_question_has_a_needle_of_its_own() -> None:
    pairs = associations()
    assert len(pairs) >= 60
    for field in ("asks", "needle", "question"):
        assert len({getattr(pair, field) for pair in pairs}) == len(pairs)
    for pair in pairs:
        # Any needle that answers it as well says so, and enough others are left.
        others = [other for other in pairs if other.answers(pair)]
        assert pair in others and len(others) <= 3
        # No other needle has a word of this question; it would be found by that.
        asked = content_words(pair.question)
        for other in pairs:
            shared = asked & content_words(other.needle)
            assert not shared or other.answers(pair), (pair.asks, other.asks, shared)


@pytest.mark.parametrize("length", [1024, 4096])
@pytest.mark.parametrize("format", [completion_format, chat_format], ids=["none", "chat"])
def test_a_prompt_has_the_length_and_one_right_name(
    format: Callable[[], PromptFormat], length: int
) -> None:
    source = probe_source(format())
    for index in (0, 4, 9):
        sample = check_sample(TASK, source, length, index, slack=60)
        (answer,) = sample.references
        (needle,) = evidence_of(sample)
        assert answer in needle and sample.text.count(answer) == 1
        assert sum(name in sample.text for name in NAMES) == 1 + TASK.distractors
        question = sample.text.rpartition("Question: ")[2].partition("?")[0]
        (pair,) = [pair for pair in associations() if pair.question == f"{question}?"]
        assert needle == pair.needle.format(name=answer)
        context = sample.text.rpartition("\n\nQuestion:")[0]
        assert content_words(context).isdisjoint(content_words(pair.question))
        start = sample.evidence[0][0] / len(context)
        assert sample.depth is not None and abs(start - sample.depth) < 0.15


def test_sentences_that_answer_or_name_anybody_asked_about_are_left_out() -> None:
    asked = sorted({word for pair in associations() for word in content_words(pair.question)})
    lines = [f"{name} met a {word}." for name, word in zip(NAMES * 9, asked, strict=False)]
    text = " ".join([*lines, prose(1, 300)])
    documents = (document(text),)
    source = ProbeSource(documents, documents_hash(documents), completion_format(), 1)
    for index in range(5):
        sample = TASK.sample(source, 3000, index)
        assert sample.text.count(sample.references[0]) == 1


def test_every_pair_is_asked_before_any_is_asked_again() -> None:
    source = probe_source()
    count = len(associations())
    samples = [TASK.sample(source, 0, index) for index in range(2 * count)]
    questions = [
        re.search(r"Question: (.*\?)", sample.text)[1]  # pyrefly: ignore
        for sample in samples
    ]
    assert len(set(questions[:count])) == len(set(questions[count:])) == count
    assert any(a != b for a, b in zip(questions[:count], questions[count:], strict=True))
    assert all(a != b for a, b in pairwise(questions[:count]))
    # Without any other text there is no depth, and nothing that samples have in common.
    assert {sample.depth for sample in samples} == {None}
    assert len({sample.cluster for sample in samples}) == 2 * count
    assert TASK.problem(source, 0) is None


def test_too_short_or_too_long_a_length_is_a_problem() -> None:
    source = probe_source(byte_format(), documents=1, sentences=30)
    assert "lengths" in str(TASK.problem(source, 300))
    assert "corpora" in str(TASK.problem(source, 30_000))
