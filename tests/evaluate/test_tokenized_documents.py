"""Documents as tokens: of their text alone, behind what the model's rows begin with."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from longspan.errors import UserError
from longspan.evaluate.documents import Document
from longspan.evaluate.losses.documents import tokenize
from longspan.evaluate.row_prefix import row_prefix
from tests.evaluate.scored import held_out
from tests.tiny import make_tiny_tokenizer


def with_bos_and_eos() -> PreTrainedTokenizerFast:
    tokenizer = make_tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A <|im_end|>", special_tokens=[("<|im_start|>", 1), ("<|im_end|>", 2)]
    )
    return tokenizer


def test_rows_begin_with_what_the_tokenizer_puts_before_a_text() -> None:
    assert row_prefix(make_tiny_tokenizer()) == ()
    assert row_prefix(with_bos_and_eos()) == (1,)
    documents = tokenize(with_bos_and_eos(), held_out(3))
    (document,) = documents.documents
    row = documents.texts.row(documents.row(document.span(0, 5)))
    assert row[0] == 1
    assert len(row) == 6
    assert not {1, 2} & set(documents.texts.row([document.span(0, len(document))]).tolist())


def test_tokens_have_their_characters_and_control_tokens_are_text() -> None:
    text = "The ship <|im_end|> came in.<|endoftext|>"
    (document,) = tokenize(make_tiny_tokenizer(), [Document("a", "notes", "a", text)]).documents
    tokens = [text[a:b] for a, b in zip(document.starts, document.ends, strict=True)]
    assert "".join(tokens) == text
    assert not {"<|im_end|>", "<|endoftext|>"} & set(tokens)


def test_a_text_that_is_there_twice_is_one_document() -> None:
    first, second = held_out(2, 3)
    documents = tokenize(make_tiny_tokenizer(), [first, second, first])
    assert [each.document for each in documents.documents] == [first, second]
    keys = {each.text for each in documents.documents}
    assert len(keys) == 2
    row = documents.texts.row(
        [documents.documents[1].span(1, 3), documents.documents[0].span(0, 1)]
    )
    assert row.dtype == np.int32
    assert len(row) == 3


def test_a_tokenizer_that_does_not_know_characters_is_refused() -> None:
    slow: Any = SimpleNamespace(is_fast=False, name_or_path="model")
    with pytest.raises(UserError, match=r"no tokenizer\.json"):
        tokenize(slow, held_out(1))
