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


def test_a_turn_that_ends_with_a_text_stops_at_that_text() -> None:
    tokenizer = make_tiny_tokenizer()
    tokenizer.chat_template = (
        "{% for message in messages %}{{ message['content'] }} //END//{% endfor %}"
    )
    template = Template(ChatTokenizer(tokenizer), "//END//")
    found = ending_turns(GenerationConfig(eos_token_id=0), template)
    assert (found.eos_token_id, found.stop_strings) == (0, ["//END//"])
