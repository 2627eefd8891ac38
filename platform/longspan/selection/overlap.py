"""N-grams of evaluation sets in training documents.

An n-gram is n consecutive tokens. A training document is contaminated when, for some evaluation
document, at least a given share of that document's n-grams occur in it.

- n is 13 by default, the largest that GPT-3's analysis used (8 to 13 words by evaluation set;
  Brown et al. 2020, arXiv:2005.14165, appendix C) and what later work took from it; Llama 2 counts
  n-grams of tokens, as here (Touvron et al. 2023, arXiv:2307.09288, appendix A.6).
- The share is by evaluation document and training document, since one common n-gram says little.
  Tulu 3 takes more than 50 % of an evaluation text's tokens in 8-grams that one training document
  shares (Lambert et al. 2024, arXiv:2411.15124, section 3.2).
- An evaluation document of fewer than n tokens, but of at least `shortest`, is one gram of its own
  length: it is found where it occurs whole. A shorter one is not looked for, because so few tokens
  occur by chance (GPT-3's smallest n is 8), and is counted as too short.

Only equal tokens are found: a text that is reworded, in other case or broken into other lines is
another text here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from longspan.selection.evaluation import EvaluationSet

FORMAT = 1
# Tokens looked at together; their hashes stay in a processor's cache.
SEGMENT = 2**16
# Grams are first looked up by the hash of so many of their first tokens, in a table of bits of which
# at most one in so many is set, unless it would need more than 2^30 of them (128 MiB).
FILTER_TOKENS = 8
FILTER_ROOM = 64
FILTER_BITS = range(10, 31)
# Pairs of a gram and an evaluation document that has it, counted together.
PAIRS = 2**22
FACTOR = np.uint64(0xD6E8FEB86659FD93)
MIXER = np.uint64(0x9E3779B97F4A7C15)
HALF = np.uint64(32)
ONE = np.uint64(1)
BITS = np.array([1 << bit for bit in range(8)], np.uint8)
INTEGERS = ("documents", "tokens", "evaluations")


@dataclass(frozen=True, eq=False)
class Overlaps:
    """Training documents and evaluation documents that they contain, in that order.

    Attributes:
        documents: int64 [overlaps], indices of training documents.
        tokens: int64 [overlaps], length of that training document.
        evaluations: int64 [overlaps], numbers of evaluation documents, counted over all sets.
        shares: float64 [overlaps], the part of the evaluation document's grams that was found.
    """

    documents: np.ndarray
    tokens: np.ndarray
    evaluations: np.ndarray
    shares: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence[Overlaps], documents: Sequence[int]) -> Overlaps:
        """Of parts that hold so many documents each, which follow one another."""
        starts = np.cumsum([0, *documents])
        shifted = [part.documents + start for part, start in zip(parts, starts, strict=False)]
        return cls(
            np.concatenate([np.empty(0, np.int64), *shifted]),
            np.concatenate([np.empty(0, np.int64), *(part.tokens for part in parts)]),
            np.concatenate([np.empty(0, np.int64), *(part.evaluations for part in parts)]),
            np.concatenate([np.empty(0), *(part.shares for part in parts)]),
        )

    def contaminated(self) -> tuple[np.ndarray, np.ndarray]:
        """The training documents, each once and in order, and their lengths, int64."""
        documents, first = np.unique(self.documents, return_index=True)
        return documents, self.tokens[first]

    def to_json(self) -> dict[str, list[Any]]:
        """A JSON value that `from_json` reads."""
        return {name: getattr(self, name).tolist() for name in self.__dataclass_fields__}

    @classmethod
    def from_json(cls, value: dict[str, list[Any]]) -> Overlaps:
        """The inverse of `to_json`."""
        numbers = (np.array(value[name], np.int64) for name in INTEGERS)
        return cls(*numbers, shares=np.array(value["shares"], np.float64))


class OverlapIndex:
    """The grams of some evaluation sets, and the documents that have them.

    Attributes:
        sets: the evaluation sets; their documents are numbered over all of them.
        ngram: tokens of a gram.
        share: smallest share of an evaluation document's grams that counts, in (0, 1].
        shortest: evaluation documents of fewer tokens are not looked for; at most `ngram`.
        grams: int64 [evaluation documents], each one's number of grams; 0 is too short.
        fingerprint: hash of all of the above, names included.
    """

    def __init__(
        self,
        sets: Sequence[EvaluationSet],
        ngram: int = 13,
        share: float = 0.5,
        shortest: int = 8,
    ) -> None:
        assert ngram >= 1 and shortest >= 1 and 0 < share <= 1, (ngram, shortest, share)
        self.sets = tuple(sets)
        self.ngram, self.share, self.shortest = ngram, float(share), min(shortest, ngram)
        self.fingerprint = _fingerprint(self)
        sizes = np.concatenate([np.empty(0, np.int64), *(np.diff(each.offsets) for each in sets)])
        lengths = np.minimum(sizes, ngram)
        self.grams = np.where(sizes >= self.shortest, sizes - lengths + 1, 0)
        self._lengths = sorted({*lengths[self.grams > 0].tolist()})
        self._filter_tokens = min([FILTER_TOKENS, *self._lengths])
        # Zeros at the end, so that a gram's tokens can be asked for beyond the last one's.
        padding = np.zeros(ngram, np.int32)
        self._tokens = np.concatenate([*(each.tokens for each in sets), padding])
        self._index(np.cumsum(sizes) - sizes, lengths)

    def find(self, tokens: np.ndarray, offsets: np.ndarray) -> Overlaps:
        """What some training documents, one after another, contain.

        Args:
            tokens: integers [total].
            offsets: int64 [documents + 1]; document j is tokens[offsets[j]:offsets[j + 1]].
        """
        found = [np.empty(0, np.int64)]
        if len(self._hashes):
            for start in range(0, len(tokens), SEGMENT):
                found += self._grams_in(tokens, offsets, start)
        # A document has a gram or has not, however often.
        documents, grams = np.divmod(np.unique(np.concatenate(found)), max(1, len(self._hashes)))
        return self._enough(documents, grams, np.diff(offsets))

    def _index(self, begins: np.ndarray, lengths: np.ndarray) -> None:
        """Sort all grams by hash, each once, and note which evaluation documents have it."""
        evaluations = np.repeat(np.arange(len(self.grams)), self.grams)
        starts, lengths = _ranges(begins, self.grams), lengths[evaluations]
        hashes = np.empty(len(starts), np.uint64)
        for length in self._lengths:
            chosen = lengths == length
            hashes[chosen] = _hashes_at(self._tokens, starts[chosen], length)
        self._hashes, first, grams = np.unique(hashes, return_index=True, return_inverse=True)
        self._starts, self._gram_lengths = starts[first], lengths[first].astype(np.int32)
        for step in range(self.ngram):
            same = self._tokens[starts + step] == self._tokens[self._starts[grams] + step]
            same |= lengths <= step
            assert same.all(), "different n-grams of the evaluation sets have the same 64-bit hash"
        assert (lengths == self._gram_lengths[grams]).all()
        # A gram's evaluation documents, and how often each has it, begin at its place in these.
        pairs, times = np.unique(grams * len(self.grams) + evaluations, return_counts=True)
        gram, having = np.divmod(pairs, max(1, len(self.grams)))
        self._having, self._times = having.astype(np.int32), times.astype(np.int32)
        self._places = np.searchsorted(gram, np.arange(len(self._hashes) + 1))
        self._build_filter()

    def _build_filter(self) -> None:
        wanted = (FILTER_ROOM * len(self._hashes)).bit_length()
        bits = min(max(wanted, FILTER_BITS.start), FILTER_BITS.stop - 1)
        self._shift = np.uint64(64 - bits)
        self._filter = np.zeros(2**bits // 8, np.uint8)
        heads = _hashes_at(self._tokens, self._starts, self._filter_tokens)
        byte, bit = _byte_and_bit(heads, self._shift)
        np.bitwise_or.at(self._filter, byte, bit)

    def _grams_in(self, tokens: np.ndarray, offsets: np.ndarray, start: int) -> list[np.ndarray]:
        """For every gram that begins in a segment, its document * number of grams + its number."""
        end = start + SEGMENT + self._filter_tokens - 1
        heads = _hashes(tokens[start:end], self._filter_tokens)
        byte, bit = _byte_and_bit(heads, self._shift)
        places = start + np.flatnonzero(self._filter[byte] & bit)
        documents = np.searchsorted(offsets, places, "right") - 1
        room = np.asarray(offsets)[documents + 1] - places
        found = []
        for length in self._lengths:
            fits = room >= length
            at, grams = self._grams_at(tokens, places[fits], length)
            found.append(documents[fits][at] * len(self._hashes) + grams)
        return found

    def _grams_at(
        self, tokens: np.ndarray, places: np.ndarray, length: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Which of the places begin a gram of that length, and which gram it is."""
        hashes = _hashes_at(tokens, places, length)
        grams = np.minimum(np.searchsorted(self._hashes, hashes), len(self._hashes) - 1)
        equal = (self._hashes[grams] == hashes) & (self._gram_lengths[grams] == length)
        at, grams = np.flatnonzero(equal), grams[equal]
        # An equal hash is not proof: a document is dropped only for equal tokens.
        steps = np.arange(length)
        ours = tokens[places[at, None] + steps]
        same = (ours == self._tokens[self._starts[grams, None] + steps]).all(axis=1)
        return at[same], grams[same]

    def _enough(self, documents: np.ndarray, grams: np.ndarray, lengths: np.ndarray) -> Overlaps:
        """The overlaps that reach the share, of sorted pairs of document and gram."""
        sizes = self._places[grams + 1] - self._places[grams]
        # Whole documents, of about so many pairs.
        group = (np.cumsum(sizes) - sizes) // PAIRS
        firsts = np.flatnonzero(np.diff(documents, prepend=-1))
        cuts = firsts[np.flatnonzero(np.diff(group[firsts], prepend=-1))]
        found: list[tuple[np.ndarray, ...]] = []
        for a, b in pairwise([*cuts.tolist(), len(documents)]):
            entries = _ranges(self._places[grams[a:b]], sizes[a:b])
            pairs = np.repeat(documents[a:b], sizes[a:b]) * len(self.grams) + self._having[entries]
            pairs, inverse = np.unique(pairs, return_inverse=True)
            counts = np.bincount(inverse, self._times[entries])
            document, evaluation = np.divmod(pairs, len(self.grams))
            shares = counts / self.grams[evaluation]
            enough = shares >= self.share
            found.append((document[enough], evaluation[enough], shares[enough]))
        empty = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
        document, evaluation, shares = map(np.concatenate, zip(empty, *found, strict=True))
        return Overlaps(document, lengths[document], evaluation, shares)


def _ranges(starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The numbers from each start on, as many as its size says, one after another."""
    before = np.cumsum(sizes) - sizes
    return np.arange(sizes.sum()) + np.repeat(starts - before, sizes)


def _mixed(tokens: np.ndarray) -> np.ndarray:
    """Token ids spread over 64 bits, uint64; none is 0, so that a run's length tells in its hash."""
    values = tokens.astype(np.uint64)
    values += ONE
    values *= MIXER
    values ^= values >> HALF
    return values


def _hashes(tokens: np.ndarray, length: int) -> np.ndarray:
    """Polynomial hash, modulo 2^64, of every run of `length` tokens, uint64 [len - length + 1]."""
    mixed = _mixed(tokens)
    count = max(0, len(mixed) - length + 1)
    hashes = mixed[:count].copy()
    for step in range(1, length):
        hashes *= FACTOR
        hashes += mixed[step : step + count]
    return hashes


def _hashes_at(tokens: np.ndarray, places: np.ndarray, length: int) -> np.ndarray:
    """The same, of the runs that begin at these places, uint64 [places]."""
    hashes = np.zeros(len(places), np.uint64)
    for step in range(length):
        hashes *= FACTOR
        hashes += _mixed(tokens[places + step])
    return hashes


def _byte_and_bit(hashes: np.ndarray, shift: np.uint64) -> tuple[np.ndarray, np.ndarray]:
    """Where a hash's upper bits are in a table of bits: int64 index and uint8 mask."""
    places = (hashes >> shift).view(np.int64)
    return places >> 3, BITS[places & 7]


def _fingerprint(index: OverlapIndex) -> str:
    names = [[each.name, each.documents] for each in index.sets]
    rule = [FORMAT, index.ngram, index.share, index.shortest, names]
    digest = hashlib.sha256(json.dumps(rule).encode())
    for each in index.sets:
        digest.update(np.ascontiguousarray(each.offsets, "<i8").data)
        digest.update(np.ascontiguousarray(each.tokens, "<i4").data)
    return digest.hexdigest()[:16]
