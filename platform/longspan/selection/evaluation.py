"""Evaluation sets as token ids, to be looked for in training text.

The outermost tokens of a text depend on what stands around it: its first word has another id after
a space than at a beginning, and its last full stop may be one token with a line's end or a quotation
mark that follows. So every text is encoded alone and with such surroundings, and only its core, the
tokens that are the same in all of them, is compared. That costs a token or two at either end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from longspan.corpus.resolve import resolve
from longspan.corpus.sources import BadInput, SourceSpec, documents
from longspan.corpus.text_tokenizer import Tokenizer
from longspan.errors import UserError
from longspan.storage import Store

BEFORE = (" ", "\n", '"', "(")
AFTER = ("\n", "\n\n", '"', ".")
# Characters at either end that are encoded with each of the surroundings; words are shorter.
EDGE = 128


@dataclass(frozen=True)
class EvaluationSpec:
    """Where an evaluation set is.

    Attributes:
        name: names it in reports.
        patterns: what `Store.list` takes.
        text_fields: the columns or keys with text; each becomes an evaluation set of its own, so
            that a question is found also where its answer is not (not used by texts).
        format: as of a source of training documents.
    """

    name: str
    patterns: tuple[str, ...]
    text_fields: tuple[str, ...] = ("text",)
    format: str = "auto"


@dataclass(frozen=True, eq=False)
class EvaluationSet:
    """The cores of an evaluation set's documents, one after another.

    Attributes:
        name: names it in reports.
        tokens: int32 [total].
        offsets: int64 [documents + 1]; document j is tokens[offsets[j]:offsets[j + 1]].
    """

    name: str
    tokens: np.ndarray
    offsets: np.ndarray

    @property
    def documents(self) -> int:
        """Number of documents, those without any token included."""
        return len(self.offsets) - 1


def read_evaluations(
    store: Store, specs: Sequence[EvaluationSpec], tokenizer: Tokenizer
) -> list[EvaluationSet]:
    """Evaluation sets out of the store, in the order of the specs and their text fields.

    A set of several fields becomes several sets, named "set.field".

    Raises:
        UserError: a pattern matches no object, or an object has anything that cannot be read.
    """
    return [
        encode(_name(spec, field), _texts(store, spec, field), tokenizer)
        for spec in specs
        for field in spec.text_fields
    ]


def encode(name: str, texts: Sequence[str], tokenizer: Tokenizer) -> EvaluationSet:
    """An evaluation set of these texts, by the reference tokenizer; the order is kept."""
    stripped = [text.strip() for text in texts]
    reference = tokenizer.reference()
    whole = _ids(reference, stripped)
    starts, ends = _insides(reference, stripped)
    cores = [
        ids[start : max(start, len(ids) - end)]
        for ids, start, end in zip(whole, starts.tolist(), ends.tolist(), strict=True)
    ]
    offsets = np.cumsum([0, *map(len, cores)], dtype=np.int64)
    return EvaluationSet(name, np.concatenate([np.empty(0, np.int32), *cores]), offsets)


def _insides(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """How many tokens at each text's beginning and end change with what is around it."""
    heads, tails = [text[:EDGE] for text in texts], [text[-EDGE:] for text in texts]
    plain_heads, plain_tails = _ids(tokenizer, heads), _ids(tokenizer, tails)
    starts, ends = np.zeros(len(texts), np.int64), np.zeros(len(texts), np.int64)
    for before in BEFORE:
        others = _ids(tokenizer, [before + head for head in heads])
        changed = map(_changed_at_start, plain_heads, others)
        np.maximum(starts, list(changed), out=starts)
    for after in AFTER:
        others = _ids(tokenizer, [tail + after for tail in tails])
        changed = map(_changed_at_end, plain_tails, others)
        np.maximum(ends, list(changed), out=ends)
    return starts, ends


def _changed_at_end(plain: np.ndarray, other: np.ndarray) -> int:
    """Tokens from the first on in which a text differs from itself with something after it."""
    common = min(len(plain), len(other))
    differing = np.flatnonzero(plain[:common] != other[:common])
    return len(plain) - int(differing[0] if len(differing) else common)


def _changed_at_start(plain: np.ndarray, other: np.ndarray) -> int:
    return _changed_at_end(plain[::-1], other[::-1])


def _ids(tokenizer: Tokenizer, texts: Sequence[str]) -> list[np.ndarray]:
    """Token ids of each text, int32 [length], without prefix and separator."""
    first = len(tokenizer.prefix)
    return [ids[first:-1].astype(np.int32) for ids in tokenizer.encode_batch(texts)]


def _name(spec: EvaluationSpec, field: str) -> str:
    return f"{spec.name}.{field}" if len(spec.text_fields) > 1 else spec.name


def _texts(store: Store, spec: EvaluationSpec, field: str) -> list[str]:
    source = SourceSpec(spec.name, spec.patterns, spec.format, field)
    key = f"decontaminate.against.{spec.name}"
    try:
        return [
            text for info in resolve(store, source) for text in documents(store, info.path, source)
        ]
    except BadInput as error:
        raise UserError(
            f"{key}: {error}; an evaluation set is checked whole or not at all: fix it, or name "
            "other text_fields"
        ) from error
    except UserError as error:
        # What reads a corpus names the recipe's key of one.
        raise UserError(str(error).replace(f"corpora.{spec.name}", key)) from error
