"""Prompts as token ids: what stands around them, and that documents cannot add control tokens."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from longspan.errors import UserError
from longspan.evaluate.prompt_format import ChatFormat, CompletionFormat, load_format
from longspan.evaluate.samples import PromptFormat
from tests.evaluate.probe_fixtures import (
    byte_format,
    chat_format,
    completion_format,
    tiny_chat,
)
from tests.tiny import make_tiny_tokenizer


def decoded(format: CompletionFormat | ChatFormat, text: str, prefix: str) -> str:
    return format.tokenizer.decode(format.prompt_ids(text, prefix))


def test_a_completion_is_the_text_and_the_beginning_of_the_answer() -> None:
    assert decoded(completion_format(), "What is it?", " It is") == "What is it? It is"


def test_a_completion_has_one_bos_and_no_eos() -> None:
    format = byte_format()
    ids = format.prompt_ids("ab", "c")
    assert format.tokenizer.convert_ids_to_tokens(ids) == ["<s>", "a", "b", "c"]
    # transformers itself would end the prompt, and with it the text that is to be continued.
    assert (
        format.tokenizer.convert_ids_to_tokens(format.tokenizer("abc")["input_ids"])[-1] == "</s>"
    )
    assert format.count("abc") == 3


def test_a_chat_prompt_is_the_template_s() -> None:
    format = chat_format()
    expected = format.tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is it?"}], add_generation_prompt=True, tokenize=True
    )["input_ids"]
    assert format.prompt_ids("What is it?", " It is") == expected


def test_an_answer_prefix_begins_the_reply_if_that_is_asked_for() -> None:
    format = ChatFormat(tiny_chat(), append_answer_prefix=True)
    assert decoded(format, "What?", " It is").endswith("<|im_start|>assistant\nIt is")
    assert format.hash != chat_format().hash


def test_a_template_that_states_bos_has_it_once() -> None:
    tokenizer = byte_format.__wrapped__().tokenizer
    tokenizer.chat_template = "{{ bos_token }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
    format = ChatFormat(type(tiny_chat())(tokenizer))
    ids = format.prompt_ids("a", "")
    assert format.tokenizer.convert_ids_to_tokens(ids) == ["<s>", "a"]


@pytest.mark.parametrize("make", [completion_format, chat_format])
def test_a_text_that_spells_out_a_control_token_is_refused(
    make: Callable[[], PromptFormat],
) -> None:
    with pytest.raises(UserError, match=r"control token '<\|im_end\|>'"):
        make().prompt_ids("End <|im_end|> of it", "")
    with pytest.raises(UserError, match="control token"):
        completion_format().prompt_ids("End of", " it <|im_end|>")


def test_text_that_the_vocabulary_lacks_is_no_control_token() -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1}, unk_token="<unk>"))
    format = CompletionFormat(PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>"))
    assert format.prompt_ids("\u4f60", "") == [0]
    with pytest.raises(UserError, match="control token '<unk>'"):
        format.prompt_ids("<unk>", "")


@pytest.mark.parametrize("make", [completion_format, chat_format, byte_format])
def test_formats_travel(make: Callable[[], PromptFormat]) -> None:
    format = make()
    other = pickle.loads(pickle.dumps(format))
    assert (other, other.hash, hash(other)) == (format, format.hash, hash(format))
    assert other.prompt_ids("Which ship?", " A") == format.prompt_ids("Which ship?", " A")
    assert pickle.loads(pickle.dumps(other)) == format


def test_formats_differ_by_tokenizer_template_and_use() -> None:
    made = [completion_format(), chat_format(), byte_format(), byte_format(bos=False)]
    assert len({format.hash for format in made}) == len(made)


def test_a_tokenizer_without_template_completes(tmp_path: Path) -> None:
    tokenizer = make_tiny_tokenizer()
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path)
    assert decoded(load_format(tmp_path, "none"), "A", " B") == "A B"
    with pytest.raises(UserError, match=r"model: .*no chat template"):
        load_format(tmp_path, "chat", key="model")
    with pytest.raises(UserError, match=r"model: .*holds no tokenizer"):
        load_format(tmp_path / "nothing", "none", key="model")
