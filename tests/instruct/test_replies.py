"""Replies, well-formed and not; words of answers; verdicts."""

import json

import pytest

from longspan.generate.requests import Sampling
from longspan.instruct.grounding import grounding
from longspan.instruct.prepare import replies_key
from longspan.instruct.replies import CUT_OFF, STOP, Pair, pair_schema, parse
from longspan.instruct.verdicts import Verdict, parse_verdict, verdict_schema, why_rejected


@pytest.mark.parametrize(
    ("reply", "question", "answer"),
    [
        ("<question>Who?</question><answer>Anna</answer>", "Who?", "Anna"),
        (
            "Sure!\n<Question> Who\nwas it? </question>\n\n<ANSWER>\nAnna.\n</ANSWER> Bye",
            "Who was it?",
            "Anna.",
        ),
        (
            "<question>Who?</question>\n<answer>Anna",
            "Who?",
            "Anna",
        ),  # an endpoint leaves the stop string out
        (
            "<question>A?</question><answer>1</answer><question>B?</question><answer>2</answer>",
            "A?",
            "1",
        ),
    ],
)
def test_question_and_answer_are_found(reply: str, question: str, answer: str) -> None:
    assert parse(reply) == Pair(question, answer)


@pytest.mark.parametrize(
    ("reply", "cut_off", "why"),
    [
        ("", False, "empty reply"),
        (" \n", False, "empty reply"),
        ("Who is it? Anna.", False, "no <question>"),
        ("<question>Who is it?", False, "no </question>"),
        ("<question>Who is it", True, CUT_OFF),
        ('{"question": "Who?", "answer": "An', True, CUT_OFF),
        ('{"question": "Who?"}', False, "no question and answer in the JSON"),
        ('{"question": "Who?", "answer": " "}', False, "empty answer"),
        ("<question>Who?</question> Anna", False, "no <answer>"),
        ("<question>Who?</question>", True, CUT_OFF),
        ("<question>Who?</question><answer>Anna and", True, CUT_OFF),
        ("<question> ?! </question><answer>Anna</answer>", False, "empty question"),
        ("<question>Who?</question><answer></answer>", False, "empty answer"),
        ("<question>Who?</question><answer><answer>Anna</answer>", False, "tags inside the answer"),
        ("<question>Who?</question><answer>who?</answer>", False, "the answer is the question"),
    ],
)
def test_malformed_replies_have_a_reason(reply: str, cut_off: bool, why: str) -> None:
    assert parse(reply, cut_off=cut_off) == why


def test_a_whole_answer_at_the_last_token_counts() -> None:
    assert parse("<question>Who?</question><answer>Anna</answer>", cut_off=True) == Pair(
        "Who?", "Anna"
    )


@pytest.mark.parametrize(
    ("answer", "chunk", "share"),
    [
        ("the lantern", "Anna kept a Lantern in house 7.", 1.0),
        ("house 7", "Anna kept a lantern in house 7.", 1.0),
        ("house 9", "Anna kept a lantern in house 7.", 0.5),
        ("a submarine", "Anna kept a lantern.", 0.0),
        ("Yes.", "Anna kept a lantern.", 1.0),
        ("keep lanterns", "He keeps lantern and lanterns", 1.0),
        ("\u4e16\u754c", "\u4f60\u597d\uff0c\u4e16\u754c", 1.0),
        ("\u6708\u7403", "\u4f60\u597d\uff0c\u4e16\u754c", 0.0),
    ],
)
def test_grounding_is_the_share_of_words_in_the_chunk(
    answer: str, chunk: str, share: float
) -> None:
    assert grounding(answer, chunk) == share


GOOD = {"answerable": True, "correct": True, "supported": True, "score": 5}
ALL = ("answerable", "correct", "supported")


def test_a_verdict_is_read_and_weighed() -> None:
    verdict = parse_verdict(json.dumps(GOOD))
    assert isinstance(verdict, Verdict)
    assert why_rejected(verdict, ALL, 5) is None
    poor = Verdict(answerable=True, correct=False, supported=False, score=2)
    assert why_rejected(poor, ALL, 1) == "judged not correct"
    assert why_rejected(poor, ("answerable",), 3) == "score 2, below 3"
    assert why_rejected(poor, (), 1) is None


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("It is fine.", "the verdict is no JSON"),
        (json.dumps(GOOD | {"score": 9}), "the verdict lacks keys or has other values"),
        (json.dumps(GOOD | {"score": "5"}), "the verdict lacks keys or has other values"),
        ('{"answerable": true}', "the verdict lacks keys or has other values"),
        ("[]", "the verdict lacks keys or has other values"),
    ],
)
def test_what_is_no_verdict_has_a_reason(reply: str, why: str) -> None:
    assert parse_verdict(reply) == why


def test_the_schema_asks_for_what_is_read() -> None:
    assert set(verdict_schema()["required"]) == set(Verdict.model_fields)


@pytest.mark.parametrize("reply", ["[" * 100_000, '{"question":' * 100_000, "9" * 100_000])
def test_replies_that_no_parser_takes_are_no_questions_and_no_verdicts(reply: str) -> None:
    assert isinstance(parse(reply), str)
    assert parse_verdict(reply) == "the verdict is no JSON"


@pytest.mark.parametrize(
    ("sampling", "key"),
    [
        (Sampling(256, 0.7, 0.95, (STOP,), include_stop=True), "b3d215a80c5687df"),
        (Sampling(64, 0.7, 0.95, schema=json.dumps(pair_schema())), "417e2925b3d6ac8e"),
    ],
    ids=["free", "constrained"],
)
def test_replies_of_earlier_versions_are_found_again(sampling: Sampling, key: str) -> None:
    assert replies_key("identity", sampling) == key
