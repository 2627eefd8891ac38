"""Chunks are the document, never too long, and end at paragraphs."""

import pickle

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from longspan.chat.tokenizer import ChatTokenizer
from longspan.instruct.chunking import cut
from tests.instruct.texts import story

TEXTS = st.one_of(
    st.text(min_size=1, max_size=400),
    st.lists(
        st.text("ab .\n", max_size=60)
        | st.sampled_from(["caf\u00e9 ", "\u4f60\u597d", "\U0001f469\u200d\U0001f4bb"]),
        min_size=1,
        max_size=30,
    ).map("".join),
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(TEXTS, st.integers(8, 60))
def test_chunks_partition_the_document_and_never_exceed(
    tokenizer: ChatTokenizer, text: str, most: int
) -> None:
    document = tokenizer.encode(text)
    if not len(document):
        return
    chunks = cut(text, tokenizer.encode, most)
    assert "".join(text[chunk.start : chunk.end] for chunk in chunks) == text
    assert [chunk.first_token for chunk in chunks] == [0, *(c.end_token for c in chunks[:-1])]
    assert chunks[-1].end_token == len(document)
    assert max(len(tokenizer.ids(text[chunk.start : chunk.end])) for chunk in chunks) <= most


def test_chunks_end_at_paragraphs_and_are_of_about_one_length(tokenizer: ChatTokenizer) -> None:
    text = story(1, 60)
    tokens = len(tokenizer.ids(text))
    most = tokens // 5
    chunks = cut(text, tokenizer.encode, most)
    assert len(chunks) == 6
    assert all(text[chunk.end - 2 : chunk.end] == "\n\n" for chunk in chunks[:-1])
    lengths = [chunk.end_token - chunk.first_token for chunk in chunks]
    assert min(lengths) > 0.7 * max(lengths)


@pytest.mark.parametrize(
    ("text", "ends"),
    [("word " * 400, " "), ("A line of text here\n" * 100, "\n"), ("Said it. Did it! " * 60, " ")],
)
def test_without_paragraphs_the_next_best_border_is_taken(
    tokenizer: ChatTokenizer, text: str, ends: str
) -> None:
    chunks = cut(text, tokenizer.encode, 50)
    assert len(chunks) > 2
    # This tokenizer puts a blank with the word after it.
    assert all(text[c.end - 1] == ends or text[c.end] == ends for c in chunks[:-1])


def test_a_document_shorter_than_a_chunk_is_one(tokenizer: ChatTokenizer) -> None:
    (chunk,) = cut("Short.", tokenizer.encode, 100)
    assert (chunk.start, chunk.end) == (0, 6)


def test_a_tokenizer_travels_without_its_folder(tokenizer: ChatTokenizer) -> None:
    travelled = pickle.loads(pickle.dumps(tokenizer))
    assert travelled.hash == tokenizer.hash
    assert travelled.prompt_ids("hello") == tokenizer.prompt_ids("hello")
