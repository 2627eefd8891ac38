"""Question and answer out of a generator's reply; what is malformed, by reason."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

STOP = "</answer>"
"""Nothing of use comes after it."""
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
    if reply.lstrip().startswith("{"):
        return _parse_json(reply, cut_off)
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


def pair_schema() -> dict[str, Any]:
    """The JSON schema of a reply whose decoding is constrained."""
    text = {"type": "string"}
    return {
        "type": "object",
        "properties": {"question": text, "answer": text},
        "required": ["question", "answer"],
        "additionalProperties": False,
    }


def _parse_json(reply: str, cut_off: bool) -> Pair | str:
    try:
        found = json.loads(reply)
        pair = Pair(_tidy(found["question"]), _tidy(found["answer"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return CUT_OFF if cut_off else "no question and answer in the JSON"
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
