"""Text to token ids, with the fast tokenizer where it gives the ids of the reference one.

The reference is what transformers loads from the model's folder, since that is what every other
tool uses. fastokens reads the same definition and is tens of times faster. It is used when it
gives identical ids for awkward strings here, the control tokens spelled out among them, and, object by
object, for excerpts of the very corpus (`Tokenizer.verify`).

Text is data: a control token spelled out in a document ("<|im_end|>") is encoded as ordinary text
by both. Only tokens marked as special are; other added tokens (runs of spaces, "<think>") are
ordinary vocabulary and stay whole.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from functools import cached_property
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from longspan.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Name = Literal["fastokens", "transformers"]

FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "tekken.json",
)
MAX_FILE_BYTES = 2**28
"""Of a tokenizer's file: those of 250,000 tokens have 35 million bytes."""
AWKWARD = (
    "",
    " ",
    "\n\n\t \r\n  x",
    "don't WE'LL 3.14159 12345678 1,000",
    "caf\u00e9 cafe\u0301 \u00df\u0130 \ufb01",
    "\u4f60\u597d\uff0c\u4e16\u754c \u0645\u0631\u062d\u0628\u0627",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
    "\U0001f469\u200d\U0001f4bb\u200b\ufeff\u00a0\x00\x7f",
    "def f(x):\n    return {'a': [x, *range(10)]}  # \u2192",
    "a" * 300 + "-" * 200 + " " * 100,
)

AROUND = (("", ""), ("a", "b"), (" ", " "), ("\n", "\n"), ("\u4f60", "1"))
"""Texts before and after a control token that a text spells out."""


def tokenizer_hash(folder: str | os.PathLike[str]) -> str:
    """Hash of a tokenizer's files (names and content), without loading it.

    Raises:
        UserError: the folder has none of the files that define a tokenizer, or too large ones.
    """
    digest = hashlib.sha256()
    found = [name for name in FILES if (Path(folder) / name).is_file()]
    if not found:
        raise UserError(f"tokenizer: {os.fspath(folder)!r} holds none of {', '.join(FILES)}")
    for name in found:
        size = (Path(folder) / name).stat().st_size
        if size > MAX_FILE_BYTES:
            raise UserError(
                f"tokenizer: {name} of {os.fspath(folder)!r} has {size:,} bytes (at most "
                f"{MAX_FILE_BYTES:,} are loaded); name the folder of a tokenizer"
            )
        content = (Path(folder) / name).read_bytes()
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]


class Tokenizer:
    """Encodes documents as [bos, if the tokenizer adds one] + ids + [separator].

    It travels to other processes as the tokenizer's definition, so that they need neither the
    folder nor transformers (whose import takes seconds).

    Args:
        folder: a local folder with a Hugging Face tokenizer.
        separator: the token that ends every document; None is the tokenizer's eos_token.

    Attributes:
        hash: of the tokenizer's files.
        prefix: ids that begin every document.
        separator: id that ends every document.
        splits_special: whether control tokens spelled out in a document stay text.

    Raises:
        UserError: the folder holds no tokenizer, or the separator is not one of its tokens.
    """

    def __init__(self, folder: str | os.PathLike[str], separator: str | None = None) -> None:
        self.hash = tokenizer_hash(folder)
        loaded = _load(folder)
        self.prefix = _prefix(loaded)
        self.separator = _separator(loaded, separator)
        self._wanted: Name = "fastokens"
        self._definition: str | None = None
        self._special = _special(loaded)
        self._loaded: PreTrainedTokenizerBase | None = None
        backend: Any = getattr(loaded, "backend_tokenizer", None)
        if hasattr(backend, "to_str"):
            backend.no_truncation()
            backend.no_padding()
            self._definition = backend.to_str()
        else:
            self._loaded = loaded
        self.splits_special = self._splits_special()
        if not self.verify((*AWKWARD, *spelled_out([token for token, _ in self._special]))):
            self._wanted = "transformers"

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_fast", "_reference")}

    @property
    def name(self) -> Name:
        """The implementation in use."""
        return "transformers" if self._fast is None else self._wanted

    def reference(self) -> Tokenizer:
        """The same tokenizer, using only the reference implementation."""
        other = object.__new__(Tokenizer)
        other.__dict__ = self.__getstate__() | {"_wanted": "transformers"}
        return other

    def verify(self, texts: Sequence[str]) -> bool:
        """Whether the implementation in use gives the reference's ids for these texts."""
        if self._wanted == "transformers":
            return True
        if self._fast is None:
            return False
        try:
            ids, offsets = self._encode_fast(texts)
        except Exception:  # Whatever it cannot encode, the reference can.
            return False
        reference = self._encode_reference(texts)
        lengths = [len(document) for document in reference]
        return bool(
            np.array_equal(np.diff(offsets), lengths)
            and np.array_equal(ids, np.concatenate([*reference, np.empty(0, np.uint32)]))
        )

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Token ids of each document, uint32 [length], with prefix and separator."""
        tokens, lengths = self.encode_flat(texts)
        return _cut(tokens, np.concatenate([[0], np.cumsum(lengths)]))

    def encode_flat(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Token ids of all documents, one after another, and each one's length.

        Returns:
            tokens: uint32 [tokens], prefixes and separators included.
            lengths: int64 [documents]; a document without text has `added` tokens.
        """
        if self.name == "fastokens":
            ids, offsets = self._encode_fast(texts)
            documents = _cut(ids, offsets)
            lengths = np.diff(offsets)
        else:
            documents = self._encode_reference(texts)
            lengths = np.array([len(document) for document in documents], np.int64)
        prefix = np.array(self.prefix, np.uint32)
        separator = np.array([self.separator], np.uint32)
        around = [(prefix, document, separator) for document in documents]
        pieces = [np.empty(0, np.uint32), *chain.from_iterable(around)]
        return np.concatenate(pieces), lengths + self.added

    @property
    def added(self) -> int:
        """Number of tokens that every document has besides those of its text."""
        return len(self.prefix) + 1

    def _encode_fast(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Ids of all the texts, uint32 [n], and where each begins, int64 [texts + 1]."""
        assert self._fast is not None
        ids, offsets = self._fast.encode_batch_flat(list(texts), split_special_tokens=True)
        return np.frombuffer(ids, "<u4"), np.frombuffer(offsets, "<u8").astype(np.int64)

    def _encode_reference(self, texts: Sequence[str]) -> list[np.ndarray]:
        if self._loaded is not None:
            options = {"add_special_tokens": False, "split_special_tokens": True}
            encoded = [self._loaded(text, **options)["input_ids"] for text in texts]
        else:
            batch = self._reference.encode_batch_fast(list(texts), add_special_tokens=False)
            encoded = [encoding.ids for encoding in batch]
        return [np.array(ids, np.uint32) for ids in encoded]

    @cached_property
    def _fast(self) -> Any | None:
        if self._definition is None or self._wanted == "transformers":
            return None
        import fastokens

        try:
            return fastokens.Tokenizer.from_json_str(self._definition)
        except Exception:  # It does not know every kind of tokenizer.
            return None

    @cached_property
    def _reference(self) -> Any:
        from tokenizers import Tokenizer as Reference

        assert self._definition is not None
        reference = Reference.from_str(self._definition)
        reference.encode_special_tokens = True
        return reference

    def _splits_special(self) -> bool:
        """Whether no control token that a text spells out becomes one."""
        numbers = [number for _, number in self._special]
        encoded = self._encode_reference(spelled_out([token for token, _ in self._special]))
        return not any(np.isin(ids, numbers).any() for ids in encoded)


def _special(loaded: PreTrainedTokenizerBase) -> tuple[tuple[str, int], ...]:
    """Control tokens and their ids."""
    added = loaded.added_tokens_decoder.items()
    found = {str(token): int(number) for number, token in added if token.special}
    found |= dict(zip(loaded.all_special_tokens, loaded.all_special_ids, strict=True))
    return tuple(sorted(found.items()))


def spelled_out(tokens: Sequence[str]) -> list[str]:
    """Texts in which control tokens are spelled out, in the places where tokenizers treat them differently."""
    apart = [f"{before}{token}{after}" for token in tokens for before, after in AROUND]
    return [*apart, "".join(tokens), " ".join(tokens)]


def _cut(flat: np.ndarray, offsets: np.ndarray) -> list[np.ndarray]:
    return [flat[start:stop] for start, stop in pairwise(offsets.tolist())]


def _load(folder: str | os.PathLike[str]) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(
            os.fspath(folder), local_files_only=True, trust_remote_code=False
        )
    except Exception as error:
        raise UserError(
            f"tokenizer: {os.fspath(folder)!r} holds no tokenizer that transformers can load: "
            f"{str(error).splitlines()[0] if str(error) else type(error).__name__}"
        ) from error


def _prefix(loaded: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """What the tokenizer puts before a text of its own accord."""
    plain = loaded("a", add_special_tokens=False)["input_ids"]
    whole = loaded("a")["input_ids"]
    starts = [n for n in range(len(whole)) if whole[n : n + len(plain)] == plain]
    assert starts, f"the tokenizer encodes 'a' as {whole} and, without special tokens, {plain}"
    return tuple(whole[: starts[0]])


def _separator(loaded: PreTrainedTokenizerBase, separator: str | None) -> int:
    if separator is None:
        if loaded.eos_token_id is None:
            raise UserError(
                "document_separator: the tokenizer has no eos_token; name one of its tokens"
            )
        return int(loaded.eos_token_id)
    number = loaded.get_vocab().get(separator)
    if number is None:
        special = ", ".join(map(repr, loaded.all_special_tokens))
        raise UserError(
            f"document_separator: {separator!r} is not a token of the tokenizer; its special "
            f"tokens are {special}"
        )
    return int(number)
