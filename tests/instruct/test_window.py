"""What is kept of a document always holds the chunk, never exceeds the window, and varies."""

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from longspan.chat.tokenizer import ChatTokenizer
from longspan.hashing import uniform
from longspan.instruct.window import Span, fit, place
from tests.instruct.texts import story


@given(st.data())
def test_the_chunk_is_always_kept(data: st.DataObject) -> None:
    tokens = data.draw(st.integers(1, 10_000))
    first = data.draw(st.integers(0, tokens - 1))
    chunk = Span(first, data.draw(st.integers(first + 1, tokens)))
    room = data.draw(st.integers(len(chunk), 12_000))
    kept = place(tokens, chunk, room, data.draw(st.floats(0, 1, exclude_max=True)))
    assert kept.first <= chunk.first and chunk.end <= kept.end
    assert kept.first >= 0 and kept.end <= tokens
    assert len(kept) == min(tokens, room)


def test_chunks_lie_everywhere_in_the_window() -> None:
    """Chunks anywhere in documents ten times the window: every tenth of the window gets its share."""
    tokens, room, length = 100_000, 10_000, 500
    places = []
    for number in range(4000):
        first = int(uniform("chunk", number) * (tokens - length))
        kept = place(tokens, Span(first, first + length), room, uniform("window", number))
        places.append((first - kept.first) / (room - length))
    counts = np.histogram(places, 10, (0, 1))[0]
    assert counts.min() > 300 and counts.max() < 500


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.integers(1, 80), st.integers(0, 79), st.integers(20, 1500), st.floats(0, 1, exclude_max=True)
)
def test_an_example_fits_as_it_is_rendered(
    tokenizer: ChatTokenizer, paragraphs: int, number: int, most: int, share: float
) -> None:
    text = story(3, paragraphs)
    document = tokenizer.encode(text)
    first = min(len(document) - 1, number * 30)
    chunk = Span(first, min(len(document), first + 30))

    def rendered(start: int, end: int) -> int:
        return len(tokenizer.ids(f"Read <{text[start:end]}> and answer."))

    kept = fit(document, chunk, most, share, rendered)
    shown = rendered(document.character(chunk.first), document.character(chunk.end))
    if kept is None:
        assert shown > most - 2
        return
    start, end = document.character(kept.first), document.character(kept.end)
    assert rendered(start, end) <= most
    assert start <= document.character(chunk.first) and document.character(chunk.end) <= end
    # The window is used, but for a few tokens at the seams.
    assert len(kept) == len(document) or rendered(start, end) > most - 12


def test_characters_of_several_tokens_stay_whole(tokenizer: ChatTokenizer) -> None:
    text = "\u4f60\u597d\uff0c\u4e16\u754c" * 100
    document = tokenizer.encode(text)
    assert len(document) > 2 * len(text)
    chunk = Span(document.token_at(200), document.token_at(210))

    def rendered(start: int, end: int) -> int:
        return len(tokenizer.ids(text[start:end]))

    for draw in range(20):
        kept = fit(document, chunk, 100, draw / 20, rendered)
        assert kept is not None
        start, end = document.character(kept.first), document.character(kept.end)
        assert start <= 200 and end >= 210
        assert rendered(start, end) <= 100
