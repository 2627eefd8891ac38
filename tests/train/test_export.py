"""What a chat model stops at."""

import pytest
from transformers import GenerationConfig

from longspan.chat.template import Template
from longspan.chat.tokenizer import ChatTokenizer
from longspan.train.loop import ending_turns
from tests.tiny import make_tiny_tokenizer


@pytest.mark.parametrize(("before", "after"), [(0, [0, 2]), ([0, 2], [0, 2]), (None, [2])])
def test_an_exported_chat_model_stops_where_its_turns_end(
    before: int | list[int] | None, after: list[int]
) -> None:
    base = GenerationConfig(eos_token_id=before)
    assert ending_turns(base, Template(ChatTokenizer(make_tiny_tokenizer()))).eos_token_id == after
    assert base.eos_token_id == before
