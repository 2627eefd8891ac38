"""Question and answer out of a generator's reply; what is malformed, by reason."""

from __future__ import annotations

import re
from dataclasses import dataclass

STOP = "</answer>"
"""Nothing of use comes after it."""
FORM = r"<question>[^<>\n]{8,240}</question>\n<answer>[^<>\n]{1,400}</answer>"
"""What a reply looks like, for decoding that is held to it."""
CUT_OFF = "cut off at max_tokens"

_QUESTION = re.compile(r"<\s*question\s*>(.*?)<\s*/\s*question\s*>", re.IGNORECASE | re.DOTALL)
_OPEN_QUESTION = re.compile(r"<\s*question\s*>", re.IGNORECASE)
# An endpoint leaves the stop string out: an answer may end with the reply.
_ANSWER = re.compile(r"<\s*answer\s*>(.*?)(<\s*/\s*answer\s*>|\Z)", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<\s*/?\s*(question|answer)\s*>", re.IGNORECASE)
_LETTER = re.compile(r"\w")


@dataclass(frozen=True)
class Pair:
    """A question and its answer."""

    question: str
    answer: str


def parse(reply: str, *, cut_off: bool = False) -> Pair | str:
    """The question and the answer in a reply, or why there are none.

    Args:
        reply: what the generator said.
        cut_off: it had more to say, and no room for it.
    """
    if not reply.strip():
        return "empty reply"
    question = _QUESTION.search(reply)
    if question is None:
        if _OPEN_QUESTION.search(reply):
            return CUT_OFF if cut_off else "no </question>"
        return "no <question>"
    answer = _ANSWER.search(reply, question.end())
    if answer is None:
        return CUT_OFF if cut_off else "no <answer>"
    if cut_off and not answer[2]:
        return CUT_OFF
    pair = Pair(_tidy(question[1]), _tidy(answer[1]))
    return _why_unusable(pair) or pair


def _tidy(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def _why_unusable(pair: Pair) -> str | None:
    for name, text in (("question", pair.question), ("answer", pair.answer)):
        if _TAG.search(text):
            return f"tags inside the {name}"
        if not _LETTER.search(text):
            return f"empty {name}"
    if pair.answer.casefold() == pair.question.casefold():
        return "the answer is the question"
    return None
