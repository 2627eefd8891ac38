"""Token probes: equal for one tokenizer, different with the place for another one or another template."""

import re

import pytest
from tokenizers import normalizers

from longspan.chat.token_probe import CONVERSATION, TokenProbe
from longspan.chat.tokenizer import ChatTokenizer
from tests.tiny import make_tiny_tokenizer


@pytest.fixture(scope="module")
def own() -> TokenProbe:
    return TokenProbe.of(make_tiny_tokenizer())


def test_a_tokenizer_agrees_with_itself_and_with_how_prompts_are_rendered(own: TokenProbe) -> None:
    chat = ChatTokenizer(make_tiny_tokenizer())
    assert own.differences(TokenProbe.of(chat.loaded), "the engine") == []
    assert own.conversation == tuple(chat.ids(chat.render(CONVERSATION, ask=True)))
    assert own.hashes.keys() == {"text", "conversation"}


def test_another_template_is_told_from_another_tokenizer(own: TokenProbe) -> None:
    other = make_tiny_tokenizer()
    other.chat_template = str(other.chat_template).replace("assistant\n", "assistant")
    (found,) = own.differences(TokenProbe.of(other), "the engine")
    assert len(own.conversation or ()) - len(TokenProbe.of(other).conversation or ()) == 1
    assert re.match(
        r"the chat template makes \d+ tokens of a conversation here, \d+ in the engine \(token \d+ is \d+ here, none",
        found,
    )
    other = make_tiny_tokenizer()
    other.backend_tokenizer.normalizer = normalizers.Lowercase()
    differing = own.differences(TokenProbe.of(other), "the endpoint")
    assert [each.split(" makes ")[0] for each in differing] == [
        "the tokenizer",
        "the chat template",
    ]


def test_what_is_unknown_is_not_compared(own: TokenProbe) -> None:
    without = make_tiny_tokenizer()
    without.chat_template = None
    assert TokenProbe.of(without).conversation is None
    assert own.differences(TokenProbe.of(without), "the engine") == []
    refusing = make_tiny_tokenizer()
    refusing.chat_template = "{{ raise_exception('only one turn') }}"
    assert own.differences(TokenProbe.of(refusing), "the engine") == []
