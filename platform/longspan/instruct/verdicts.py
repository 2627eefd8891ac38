"""The generator's judgement of a question and its answer, as JSON that decoding is held to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError


class Verdict(BaseModel):
    """What the generator finds when it checks a question and an answer against the chunk."""

    model_config = ConfigDict(extra="forbid", strict=True)

    answerable: bool
    """The chunk holds what is needed to answer."""
    correct: bool
    """The answer is the right one."""
    supported: bool
    """Every statement of the answer is in the chunk."""
    score: int = Field(ge=1, le=5)


def verdict_schema() -> dict[str, Any]:
    """The JSON schema that constrains decoding."""
    flag = {"type": "boolean"}
    return {
        "type": "object",
        "properties": {
            "answerable": flag,
            "correct": flag,
            "supported": flag,
            "score": {"type": "integer", "enum": [1, 2, 3, 4, 5]},
        },
        "required": ["answerable", "correct", "supported", "score"],
        "additionalProperties": False,
    }


def parse_verdict(reply: str) -> Verdict | str:
    """The verdict in a reply, or why there is none (an endpoint may not constrain its decoding)."""
    try:
        return Verdict.model_validate(json.loads(reply))
    except ValidationError:
        return "the verdict lacks keys or has other values"
    except (ValueError, RecursionError):
        return "the verdict is no JSON"


def why_rejected(verdict: Verdict, require: Sequence[str], min_score: int) -> str | None:
    """Why a verdict turns an example down; None where it doesn't."""
    for quality in require:
        if not getattr(verdict, quality):
            return f"judged not {quality}"
    if verdict.score < min_score:
        return f"score {verdict.score}, below {min_score}"
    return None
