"""N-gram overlap: against a naive count, and with a real tokenizer."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longspan.corpus.text_tokenizer import Tokenizer
from longspan.selection import overlap
from longspan.selection.evaluation import EvaluationSet, encode
from longspan.selection.overlap import OverlapIndex, Overlaps
from tests.tiny import TEXT, make_tiny_tokenizer

documents_of_tokens = st.lists(st.lists(st.integers(0, 2), max_size=12), max_size=8)
QUESTION = TEXT[4]
LONG = " ".join(TEXT)


def flat(documents: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    tokens = np.array([token for document in documents for token in document], np.int32)
    return tokens, np.cumsum([0, *map(len, documents)])


def evaluation(documents: list[list[int]], name: str = "set") -> EvaluationSet:
    return EvaluationSet(name, *flat(documents))


def rows(found: Overlaps) -> list[tuple[int, int, float]]:
    columns = (found.documents, found.evaluations, found.shares)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def naive(
    evaluations: list[list[int]], training: list[list[int]], n: int, share: float, shortest: int
) -> list[tuple[int, int, float]]:
    found = []
    for document, tokens in enumerate(training):
        for number, wanted in enumerate(evaluations):
            length = min(n, len(wanted))
            if len(wanted) < shortest:
                continue
            has = {tuple(tokens[i : i + length]) for i in range(len(tokens) - length + 1)}
            grams = [tuple(wanted[i : i + length]) for i in range(len(wanted) - length + 1)]
            part = sum(gram in has for gram in grams) / len(grams)
            if part >= share:
                found.append((document, number, part))
    return found


@settings(deadline=None, max_examples=300)
@given(
    evaluations=documents_of_tokens,
    training=documents_of_tokens,
    n=st.integers(1, 6),
    share=st.sampled_from([0.01, 0.3, 0.5, 2 / 3, 1.0]),
    shortest=st.integers(1, 6),
    split=st.integers(0, 8),
)
def test_it_finds_what_a_naive_count_finds(
    evaluations: list[list[int]],
    training: list[list[int]],
    n: int,
    share: float,
    shortest: int,
    split: int,
) -> None:
    sets = [evaluation(evaluations[:split], "a"), evaluation(evaluations[split:], "b")]
    index = OverlapIndex(sets, n, share, shortest)

    assert rows(index.find(*flat(training))) == naive(
        evaluations, training, n, share, min(n, shortest)
    )


@pytest.mark.parametrize("segment, pairs, bits", [(7, 5, range(3, 4)), (64, 1, range(4, 5))])
def test_the_result_does_not_depend_on_how_the_work_is_cut(
    monkeypatch: pytest.MonkeyPatch, segment: int, pairs: int, bits: range
) -> None:
    random = np.random.default_rng(0)
    texts = [random.integers(0, 4, length).tolist() for length in random.integers(0, 40, 60)]
    index = OverlapIndex([evaluation(texts[:30])], ngram=4)
    whole = index.find(*flat(texts))
    assert len(whole.documents) > 20
    monkeypatch.setattr(overlap, "SEGMENT", segment)
    monkeypatch.setattr(overlap, "PAIRS", pairs)
    monkeypatch.setattr(overlap, "FILTER_BITS", bits)
    cut = OverlapIndex([evaluation(texts[:30])], ngram=4)

    assert rows(cut.find(*flat(texts))) == rows(whole)


def test_equal_hashes_of_other_tokens_are_no_match(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap, "MIXER", np.uint64(0))  # Now all hashes are.
    index = OverlapIndex([evaluation([list(range(13))])])

    assert rows(index.find(*flat([list(range(13)), list(range(1, 14))]))) == [(0, 0, 1.0)]


def test_runs_of_one_token_do_not_multiply() -> None:
    index = OverlapIndex([evaluation([[7] * 20_000] * 50)])
    found = index.find(*flat([[7] * 100_000, [7] * 12, [7] * 13]))

    assert rows(found) == [(d, e, 1.0) for d in (0, 2) for e in range(50)]


def test_documents_too_short_are_told_apart_from_clean_ones() -> None:
    index = OverlapIndex([evaluation([[1] * 7, [2] * 8, [3] * 13, [4] * 20, []])])

    assert index.grams.tolist() == [0, 1, 1, 8, 0]
    assert rows(index.find(*flat([[1] * 30, [2] * 8]))) == [(1, 1, 1.0)]


def test_nothing_to_look_for() -> None:
    for sets in ([], [evaluation([])], [evaluation([[1, 2]])]):
        assert rows(OverlapIndex(sets).find(*flat([[1, 2] * 50]))) == []


def test_the_fingerprint_tells_everything_apart_that_changes_results() -> None:
    sets = [evaluation([[1] * 20, [2] * 20])]
    fingerprints = {
        OverlapIndex(sets).fingerprint,
        OverlapIndex(sets, ngram=12).fingerprint,
        OverlapIndex(sets, share=0.6).fingerprint,
        OverlapIndex(sets, shortest=9).fingerprint,
        OverlapIndex([evaluation([[1] * 20, [2] * 20], "other")]).fingerprint,
        OverlapIndex([evaluation([[1] * 20, [3] * 20])]).fingerprint,
        OverlapIndex([evaluation([[1] * 19, [2] * 20])]).fingerprint,
    }

    assert len(fingerprints) == 7
    assert OverlapIndex([evaluation([[1] * 20, [2] * 20])]).fingerprint in fingerprints


def test_overlaps_of_blocks_are_joined() -> None:
    index = OverlapIndex([evaluation([[1] * 13])], ngram=13)
    parts = [[[1] * 20, [2] * 20], [], [[3], [1] * 14]]
    found = [index.find(*flat(part)) for part in parts]
    joined = Overlaps.joined(found, [len(part) for part in parts])

    assert rows(joined) == [(0, 0, 1.0), (3, 0, 1.0)]
    assert [column.tolist() for column in joined.contaminated()] == [[0, 3], [20, 14]]
    assert Overlaps.from_json(joined.to_json()).to_json() == joined.to_json()


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """Merges a full stop with what follows it, and a word with the space before it."""
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tiny_tokenizer().save_pretrained(folder)
    return Tokenizer(folder)


def test_a_core_is_in_a_texts_tokens_whatever_surrounds_it(tokenizer: Tokenizer) -> None:
    core = encode("set", [QUESTION], tokenizer)
    assert len(core.tokens) > 15
    for before in ("", " ", "\n", "so: ", '"', "(", "\t", "x\n\n", "- "):
        for after in ("", " ", "\n", "\n\n", '"', ").", " Yes.", "\r\n"):
            (ids,) = tokenizer.encode_batch([before + QUESTION + after])
            runs = np.lib.stride_tricks.sliding_window_view(ids, len(core.tokens))
            assert (runs == core.tokens).all(axis=1).any(), (before, after)


def test_texts_keep_their_numbers(tokenizer: Tokenizer) -> None:
    texts = ["", " \n", "ship", QUESTION, f"\n {QUESTION}  "]
    encoded = encode("set", texts, tokenizer)
    cores = [encoded.tokens[a:b].tolist() for a, b in pairwise(encoded.offsets)]

    assert encoded.documents == 5
    assert cores[:2] == [[], []]
    assert cores[3] == cores[4] != []


@pytest.mark.parametrize(
    "training, share",
    [
        (QUESTION, 1.0),
        (f"{LONG}\n\n{QUESTION}\n{LONG}", 1.0),
        (f'He asked: "{QUESTION}"', 1.0),
        (f"({QUESTION})\r\n", 1.0),
        (QUESTION.upper(), None),
        (QUESTION.replace(" ", "  "), None),
        (LONG.replace(QUESTION, ""), None),
    ],
)
def test_a_short_text_is_found_in_any_surroundings(
    tokenizer: Tokenizer, training: str, share: float | None
) -> None:
    index = OverlapIndex([encode("set", [QUESTION], tokenizer)])
    tokens, lengths = tokenizer.encode_flat(["Other text.", training])
    found = index.find(tokens, np.concatenate([[0], np.cumsum(lengths)]))

    assert rows(found) == ([] if share is None else [(1, 0, share)])


def test_half_of_a_long_text_is_found_and_an_edited_one_is_not(tokenizer: Tokenizer) -> None:
    words = LONG.split(" ")
    halves = [" ".join(words[: len(words) * 6 // 10]), " ".join(words[: len(words) * 4 // 10])]
    edited = [word if n % 3 else "gone" for n, word in enumerate(words)]
    index = OverlapIndex([encode("set", [LONG], tokenizer)])
    tokens, lengths = tokenizer.encode_flat([*halves, " ".join(edited)])
    found = index.find(tokens, np.concatenate([[0], np.cumsum(lengths)]))

    assert found.documents.tolist() == [0]
    assert 0.5 < found.shares[0] < 0.7


def test_a_tokenizer_without_words(tmp_path: Path) -> None:
    """As SentencePiece makes them: merges go across spaces, and a text begins with one."""
    from tokenizers import Tokenizer as Definition
    from tokenizers import decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    other = Definition(models.BPE(byte_fallback=True, unk_token="<unk>"))
    other.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    other.decoder = decoders.Metaspace(split=False)
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<unk>"], show_progress=False)
    other.train_from_iterator(TEXT * 2, trainer)
    loaded = PreTrainedTokenizerFast(tokenizer_object=other, eos_token="<unk>", unk_token="<unk>")
    loaded.save_pretrained(tmp_path)
    tokenizer = Tokenizer(tmp_path).reference()
    index = OverlapIndex([encode("set", [LONG], tokenizer)])
    tokens, lengths = tokenizer.encode_flat([f"It said: {LONG}\n\nThe end."])
    found = index.find(tokens, np.concatenate([[0], np.cumsum(lengths)]))

    assert rows(found) == [(0, 0, 1.0)]
