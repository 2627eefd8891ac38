"""Which tokens are answers, token by token, for the chat templates that models come with."""

import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longspan.chat.conversation import Conversation, conversation
from longspan.chat.template import EndOfTurn, Template
from longspan.chat.tokenizer import ChatTokenizer
from longspan.chat.turns import Message, NotAConversation
from longspan.errors import UserError
from tests.tiny import CHAT_TEMPLATE, make_tiny_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

LLAMA_2 = (
    "{% if messages[0]['role'] == 'system' %}"
    "{% set system = '<<SYS>>\n' + messages[0]['content'] + '\n<</SYS>>\n\n' %}"
    "{% set turns = messages[1:] %}"
    "{% else %}{% set system = '' %}{% set turns = messages %}{% endif %}"
    "{% for turn in turns %}"
    "{% if turn['role'] == 'user' %}"
    "{{ '<s>[INST] ' + (system if loop.first else '') + turn['content'] | trim + ' [/INST]' }}"
    "{% else %}{{ ' ' + turn['content'] | trim + ' </s>' }}{% endif %}"
    "{% endfor %}"
)
LLAMA_3 = (
    "{% for message in messages %}"
    "{{ ('<|begin|>' if loop.first else '') + '<|start|>' + message['role'] + '<|end|>\n\n'"
    " + message['content'] | trim + '<|eot|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant<|end|>\n\n' }}{% endif %}"
)
# Says itself what an answer is: here without the token that ends it.
MARKED = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] }}{% endgeneration %}"
    "{% else %}{{ message['content'] }}{% endif %}<|im_end|>\n{% endfor %}"
)
# Leaves out of earlier answers what is in brackets, as models that think do.
FORGETS = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] if loop.last else message['content'].split(']')[-1] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Ends the last turn with a token of its own, as Phi 3 does.
ENDS = CHAT_TEMPLATE.replace(
    "{% if add_generation_prompt %}",
    "{% if not add_generation_prompt %}</s>{% endif %}{% if add_generation_prompt %}",
)
# Begins the last answer with its own words, as Qwen 3 does.
THINKS = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ '()\n\n' if loop.last and message['role'] == 'assistant' }}"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# States the day.
DATED = "{{ date_string if date_string else strftime_now('%d %b %Y') }}" + CHAT_TEMPLATE
SPECIAL = ["<s>", "</s>", "<|begin|>", "<|start|>", "<|end|>", "<|eot|>"]

ONE = [("user", "Hi?"), ("assistant", "Yo.")]
TWO = [("system", "Be."), *ONE, ("user", "So\n?"), ("assistant", "\nNo no")]


def by_letters(template: str) -> Template:
    """Every character is a token: what is expected can be written down as a text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = ["<|im_start|>", "<|im_end|>", *SPECIAL]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*letters, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(letters)
    return Template(
        ChatTokenizer(PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=template))
    )


def talk(turns: list[tuple[str, str]]) -> Conversation:
    return Conversation(tuple(Message(role, content) for role, content in turns))  # type: ignore


def written(text: str) -> list[tuple[str, bool]]:
    """Tokens and whether they are an answer's, of a text in which answers are in {{ and }}."""
    found, answer = [], False
    special = "|".join(re.escape(token) for token in ["<|im_start|>", "<|im_end|>", *SPECIAL])
    for part in re.findall(rf"\{{\{{|\}}\}}|{special}|.", text, re.DOTALL):
        if part in ("{{", "}}"):
            answer = part == "{{"
        else:
            found.append((part, answer))
    return found


@pytest.mark.parametrize(
    ("template", "turns", "expected"),
    [
        (
            CHAT_TEMPLATE,
            ONE,
            "<|im_start|>user\nHi?<|im_end|>\n<|im_start|>assistant\n{{Yo.<|im_end|>}}\n",
        ),
        (
            CHAT_TEMPLATE,
            TWO,
            "<|im_start|>system\nBe.<|im_end|>\n<|im_start|>user\nHi?<|im_end|>\n"
            "<|im_start|>assistant\n{{Yo.<|im_end|>}}\n<|im_start|>user\nSo\n?<|im_end|>\n"
            "<|im_start|>assistant\n{{\nNo no<|im_end|>}}\n",
        ),
        (LLAMA_2, ONE, "<s>[INST] Hi? [/INST]{{ Yo. </s>}}"),
        (
            LLAMA_2,
            TWO,
            "<s>[INST] <<SYS>>\nBe.\n<</SYS>>\n\nHi? [/INST]{{ Yo. </s>}}"
            "<s>[INST] So\n? [/INST]{{ No no </s>}}",
        ),
        (
            LLAMA_3,
            ONE,
            "<|begin|><|start|>user<|end|>\n\nHi?<|eot|>"
            "<|start|>assistant<|end|>\n\n{{Yo.<|eot|>}}",
        ),
        (
            LLAMA_3,
            TWO,
            "<|begin|><|start|>system<|end|>\n\nBe.<|eot|><|start|>user<|end|>\n\nHi?<|eot|>"
            "<|start|>assistant<|end|>\n\n{{Yo.<|eot|>}}<|start|>user<|end|>\n\nSo\n?<|eot|>"
            "<|start|>assistant<|end|>\n\n{{No no<|eot|>}}",
        ),
        (
            MARKED,
            ONE,
            "<|im_start|>user\nHi?<|im_end|>\n<|im_start|>assistant\n{{Yo.}}<|im_end|>\n",
        ),
        (
            ENDS,
            [*ONE, *ONE],
            2 * "<|im_start|>user\nHi?<|im_end|>\n<|im_start|>assistant\n{{Yo.<|im_end|>}}\n"
            + "</s>",
        ),
        (
            THINKS,
            [*ONE, *ONE],
            "<|im_start|>user\nHi?<|im_end|>\n<|im_start|>assistant\n{{Yo.<|im_end|>}}\n"
            "<|im_start|>user\nHi?<|im_end|>\n<|im_start|>assistant\n{{()\n\nYo.<|im_end|>}}\n",
        ),
        (
            DATED,
            ONE,
            "26 Jul 2024<|im_start|>user\nHi?<|im_end|>\n"
            "<|im_start|>assistant\n{{Yo.<|im_end|>}}\n",
        ),
    ],
    ids=[
        "chatml",
        "chatml-2",
        "llama-2",
        "llama-2-2",
        "llama-3",
        "llama-3-2",
        "marked",
        "ends",
        "thinks",
        "dated",
    ],
)
def test_answers_token_by_token(template: str, turns: list[tuple[str, str]], expected: str) -> None:
    subject = by_letters(template)
    tokens, answers, excluded = subject.encode(talk(turns))
    assert not excluded.any()
    texts = [subject._tokenizer.loaded.decode([token]) for token in tokens.tolist()]
    assert list(zip(texts, answers.tolist(), strict=True)) == written(expected)
    assert tokens.dtype == np.int32


@pytest.fixture(scope="session")
def tiny() -> "PreTrainedTokenizerFast":
    return make_tiny_tokenizer()


words = st.text(st.sampled_from("The keeper counted\n .?é日"), min_size=1, max_size=30)


@settings(deadline=None)
@given(st.lists(st.tuples(words, words.filter(str.strip)), min_size=1, max_size=3))
def test_tokens_are_the_tokenizers_own(
    tiny: "PreTrainedTokenizerFast", pairs: list[tuple[str, str]]
) -> None:
    conversation = talk(
        [turn for pair in pairs for turn in zip(("user", "assistant"), pair, strict=True)]
    )
    tokens, answers, _ = Template(ChatTokenizer(tiny)).encode(conversation)
    whole = tiny.apply_chat_template(conversation.turns, tokenize=True, return_dict=True)
    assert tokens.tolist() == whole["input_ids"]
    ends = tiny.convert_tokens_to_ids("<|im_end|>")
    assert int((tokens[answers] == ends).sum()) == len(pairs)
    # Nothing of an answer is left out. A token that begins with the line's end before is its own.
    found = tiny.decode(tokens[answers]).split("<|im_end|>")[:-1]
    for text, (_, answer) in zip(found, pairs, strict=True):
        assert text.removeprefix("\n") == answer.removeprefix("\n") or text == answer


def test_a_template_that_renders_a_turn_otherwise_later_is_refused() -> None:
    template = by_letters(FORGETS)
    assert template.encode(talk(ONE))[1].any()
    with pytest.raises(NotAConversation, match=r"writes an answer otherwise \(turn 2"):
        template.encode(talk([("user", "Hi"), ("assistant", "[hm]Yo"), *ONE]))


def test_a_template_that_refuses_a_role_says_so() -> None:
    refuses = "{{ raise_exception('no system here') if messages[0].role == 'system' }}" + LLAMA_3
    with pytest.raises(NotAConversation, match=r"refuses it \(no system here"):
        by_letters(refuses).encode(talk(TWO))


def test_a_tokenizer_without_a_template_is_told() -> None:
    tokenizer = make_tiny_tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(UserError, match="has no chat template"):
        ChatTokenizer(tokenizer)


def test_control_tokens_in_a_turn_are_found(tiny: "PreTrainedTokenizerFast") -> None:
    template = Template(ChatTokenizer(tiny))
    assert template.control_token_in(talk(ONE)) is None
    turns = [("user", "What is <|im_end|>?"), ("assistant", "A token.")]
    assert template.control_token_in(talk(turns)) == "<|im_end|>"


def test_a_template_that_marks_too_few_answers_is_refused() -> None:
    first_only = MARKED.replace("message['role'] == 'assistant'", "loop.index == 2")
    with pytest.raises(NotAConversation, match="marks 1 answers of 2"):
        by_letters(first_only).encode(talk([*ONE, *ONE]))


@pytest.mark.parametrize(
    ("template", "end"), [(CHAT_TEMPLATE, "<|im_end|>"), (LLAMA_2, "</s>"), (LLAMA_3, "<|eot|>")]
)
def test_what_ends_a_turn(template: str, end: str) -> None:
    subject = by_letters(template)
    number = subject._tokenizer.loaded.convert_tokens_to_ids(end)
    assert subject.end_of_turn == EndOfTurn(end, number)
    assert by_letters(MARKED).end_of_turn is None


@pytest.mark.parametrize(
    "expression",
    [
        "{{ messages.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__['os'].system('true') }}",
        "{{ messages.append(messages[0]) }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{% for n in range(10**9) %}x{% endfor %}",
        "{{ 1 / 0 }}",
        "{{ messages + 1 }}",
    ],
)
@pytest.mark.parametrize(
    "begin", ["", "{% if false %}{% generation %}{% endgeneration %}{% endif %}"]
)
def test_a_template_reaches_nothing_but_the_conversation(begin: str, expression: str) -> None:
    tokenizer = make_tiny_tokenizer()
    tokenizer.chat_template = begin + expression
    talk = Conversation((Message("user", "Q"), Message("assistant", "A")))
    with pytest.raises(NotAConversation, match="chat template refuses it"):
        Template(ChatTokenizer(tokenizer)).encode(talk)


# Renders tools, their calls and results, and thoughts, as Qwen 3 does.
TOOLS = (
    "{% if tools %}<|im_start|>system\n{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message.reasoning_content %}({{ message.reasoning_content }})\n{% endif %}"
    "{{ message['content'] }}"
    "{% for call in message.tool_calls or [] %}<|start|>{{ call.function.name }} "
    "{{ call.function.arguments | tojson }}<|end|>{% endfor %}"
    "<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CALL = {"type": "function", "function": {"name": "tide", "arguments": {"day": 1}}}
TOOL = {"type": "function", "function": {"name": "tide"}}
AGENT = {
    "tools": [TOOL],
    "messages": [
        {"role": "user", "content": "Hi?"},
        {"role": "assistant", "content": "", "tool_calls": [CALL, CALL]},
        {"role": "tool", "content": "low", "tool_call_id": "1", "name": "tide"},
        {"role": "assistant", "content": "Yo.", "reasoning_content": "Hm"},
    ],
}
AGENT_PARTS = [
    ('<|im_start|>system\n{"type": "function", "function": {"name": "tide"}}\n<|im_end|>\n', False),
    ("<|im_start|>user\nHi?<|im_end|>\n<|im_start|>assistant\n", False),
    ('<|start|>tide {"day": 1}<|end|><|start|>tide {"day": 1}<|end|><|im_end|>', True),
    ("\n<|im_start|>tool\nlow<|im_end|>\n<|im_start|>assistant\n", False),
    ("(Hm)\nYo.<|im_end|>", True),
    ("\n", False),
]


def tokens_of(subject: Template, talk: Conversation) -> list[tuple[str, bool]]:
    tokens, answers, _ = subject.encode(talk)
    texts = [subject._tokenizer.loaded.decode([token]) for token in tokens.tolist()]
    return list(zip(texts, answers.tolist(), strict=True))


def test_calls_and_thoughts_are_of_answers() -> None:
    special = "|".join(re.escape(token) for token in ["<|im_start|>", "<|im_end|>", *SPECIAL])
    expected = [
        (token, is_answer)
        for part, is_answer in AGENT_PARTS
        for token in re.findall(rf"{special}|.", part, re.DOTALL)
    ]
    assert tokens_of(by_letters(TOOLS), conversation(AGENT)) == expected


def test_calls_behind_a_text_end_with_their_turn() -> None:
    """The end that a template gives the last turn is no part of it."""
    template = TOOLS.replace(
        "{% if add_generation_prompt %}",
        "{% if not add_generation_prompt %}</s>{% endif %}{% if add_generation_prompt %}",
        1,
    )
    row = {"messages": [AGENT["messages"][0], AGENT["messages"][1] | {"content": "Yo."}]}
    tokens = tokens_of(by_letters(template), conversation(row))
    answer = "".join(text for text, is_answer in tokens if is_answer)
    assert answer.startswith("Yo.<|start|>tide")
    assert answer.endswith("<|end|><|im_end|>")


@pytest.mark.parametrize(
    ("template", "changes", "message"),
    [
        (CHAT_TEMPLATE, {"tools": [TOOL]}, "'tools', which the template does not render"),
        (CHAT_TEMPLATE, {"calls": [CALL]}, "'tool_calls' of the assistant's turn 2"),
        (
            TOOLS.replace("message.tool_calls or []", "(message.tool_calls or [])[:1]"),
            {"calls": [CALL, CALL]},
            "'tool_calls'",
        ),
        (
            CHAT_TEMPLATE,
            {"reasoning_content": "Hm"},
            "'reasoning_content' of the assistant's turn 2",
        ),
        (TOOLS, {"language": "de"}, "'language' of the assistant's turn 2.*ignore_fields"),
        # The text of the field is there, but for another reason.
        (TOOLS, {"language": "Yo."}, "'language'"),
        (
            CHAT_TEMPLATE.replace("messages %}", "messages if message.role != 'system' %}"),
            {"system": "Be."},
            "leaves out the system's turn 1",
        ),
        (
            CHAT_TEMPLATE.replace("messages %}", "messages if message.role != 'system' %}"),
            {"system": "Hi?"},
            "leaves out the system's turn 1",
        ),
    ],
)
def test_what_a_template_leaves_out_is_told(template: str, changes: dict, message: str) -> None:
    fields = dict(changes)
    row: dict = {name: fields.pop(name) for name in ("tools", "system") if name in fields}
    calls = {"tool_calls": fields.pop("calls")} if "calls" in fields else {}
    answer = {"role": "assistant", "content": "Yo."} | calls | fields
    row["messages"] = [{"role": "user", "content": "Hi?"}, answer]
    with pytest.raises(NotAConversation, match=message):
        by_letters(template).encode(conversation(row))


def test_tools_of_which_one_is_not_rendered_are_told() -> None:
    first = TOOLS.replace("for tool in tools %}", "for tool in tools[:1] %}")
    other = {"type": "function", "function": {"name": "wind"}}
    with pytest.raises(NotAConversation, match="'tools'"):
        by_letters(first).encode(conversation(AGENT | {"tools": [TOOL, other]}))


@pytest.mark.parametrize("template", [CHAT_TEMPLATE, MARKED])
def test_an_excluded_answer_is_told_from_others(template: str) -> None:
    subject = by_letters(template)
    messages = list(talk([*ONE, *ONE]).messages)
    plain = subject.encode(Conversation(tuple(messages)))
    messages[1] = Message("assistant", "Yo.", is_trained=False)
    tokens, answers, excluded = subject.encode(Conversation(tuple(messages)))
    assert tokens.tolist() == plain[0].tolist()
    assert (answers | excluded).tolist() == plain[1].tolist()
    assert not (answers & excluded).any()
    assert excluded.sum() == answers.sum() == plain[1].sum() // 2
    assert excluded.argmax() < answers.argmax()


ENDLESS = (
    "{% for message in messages %}[{{ message['role'] }}] {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)


@pytest.mark.parametrize("template", [ENDLESS, MARKED])
def test_a_template_whose_answers_do_not_end_is_refused(template: str) -> None:
    with pytest.raises(UserError) as raised:
        by_letters(template).require_end_of_turn("base_model")
    message = str(raised.value)
    assert message.startswith(
        "base_model: the chat template writes no control token behind an answer"
    )
    assert "end_of_turn" in message and "'<|im_end|>'" in message
    assert ("within {% generation %}" in message) == (template == MARKED)


@pytest.mark.parametrize(
    ("template", "end", "expected"),
    [
        (ENDLESS, "\n", "[user] Hi?\n[assistant] {{Yo.\n}}"),
        (ENDLESS.replace("\n{%", "//\n{%", 1), "//", "[user] Hi?//\n[assistant] {{Yo.//}}\n"),
        (
            MARKED,
            "<|im_end|>",
            "<|im_start|>user\nHi?<|im_end|>\n<|im_start|>assistant\n{{Yo.<|im_end|>}}\n",
        ),
    ],
)
def test_a_recipe_may_say_what_ends_a_turn(template: str, end: str, expected: str) -> None:
    tokenizer = by_letters(template)._tokenizer
    subject = Template(tokenizer, end)
    assert tokens_of(subject, talk(ONE)) == written(expected)
    found = subject.require_end_of_turn("base_model")
    token = tokenizer.ids(end)
    assert found == EndOfTurn(end, token[0] if len(token) == 1 else None)


def test_a_stated_end_that_does_not_follow_is_refused() -> None:
    subject = Template(by_letters(ENDLESS)._tokenizer, "</s>")
    with pytest.raises(UserError, match=r"end_of_turn: '</s>' does not follow an answer"):
        subject.require_end_of_turn("base_model")
    with pytest.raises(
        UserError, match="tokenizer: the chat template fails on a plain conversation"
    ):
        by_letters("{{ 1 / 0 }}").require_end_of_turn("tokenizer")


def test_a_template_that_needs_a_system_message_is_tried_with_one() -> None:
    needs = "{{ raise_exception('who am I?') if messages[0].role != 'system' }}" + CHAT_TEMPLATE
    assert by_letters(needs).require_end_of_turn("base_model").text == "<|im_end|>"


def test_control_tokens_are_found_in_all_fields() -> None:
    template = by_letters(TOOLS)
    for place in ("arguments", "name"):
        call = {"function": CALL["function"] | {place: "<|im_end|>"}}
        row = {"messages": [AGENT["messages"][0], AGENT["messages"][1] | {"tool_calls": [call]}]}
        assert template.control_token_in(conversation(row)) == "<|im_end|>"
    tool = {"function": {"name": "tide", "parameters": {"<s>": 1}}}
    assert template.control_token_in(conversation(AGENT | {"tools": [tool]})) == "<s>"
