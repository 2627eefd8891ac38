"""The tokens that an answer took, as the engine states them in `usage`, read without parsing the answer."""

from __future__ import annotations

import re
from typing import Protocol

from longspan.serve.gateway.body import Question
from longspan.serve.gateway.request_log import RequestLog

_NO_CHOICES = b'"choices":[]'
"""Only in the event with the usage. In a text that holds these characters, their quotes are escaped."""
_END = b"\n\n"
_ERROR = b'data: {"error"'
_KEY = b'"usage":{'
"""Only as a key: quotes are escaped in a text, and no other object of an answer has one of this name."""
_USAGE = re.compile(
    rb'"usage":\{"prompt_tokens":(\d+),"total_tokens":\d+,"completion_tokens":(\d+)'
    rb'(?:,"\w+":(?:null|\{[^{}]*\}))*\}'
)
_INDEX = re.compile(rb'"choices":\[\{"index":(\d+)')
_MAX_USAGE_BYTES = 1024


class Usage(Protocol):
    """Notes the usage in an answer that goes by."""

    def passed(self, chunk: bytes, more: bool) -> bytes:
        """What the client gets of a chunk; `more` says whether another one follows."""
        ...


class UsageInBody:
    """Notes the usage in a JSON answer, of which it keeps no more than the end of the last chunk.

    The field is searched for: in an answer with a prompt's log probabilities, megabytes follow it.

    Args:
        request_log: takes it.
    """

    def __init__(self, request_log: RequestLog) -> None:
        self._visit = request_log
        self._end = b""

    def passed(self, chunk: bytes, more: bool) -> bytes:
        """See `Usage.passed`."""
        if self._visit.prompt_tokens is None:
            data = self._end + chunk if self._end else chunk
            if (at := data.find(_KEY)) >= 0 and (found := _USAGE.match(data, at)):
                self._visit.used(int(found[1]), int(found[2]))
            self._end = data[-_MAX_USAGE_BYTES:] if more else b""
        return chunk


class UsageInEvents:
    """Notes the usage in every event of a stream, and hides it from a client who didn't ask for it.

    Nothing passes after an event with an error: the engine's `[DONE]` would deny it. A chunk costs a
    search and a match at the place that was found.

    Args:
        request_log: takes it.
        hides_last: whether the client is not to see the event with the usage at the end.
        hides_others: whether it is not to see the usage of the other events.
        num_answers: of all its prompts.
        answers_per_prompt: `n`. Each event counts the tokens of one answer, and of its prompt.
    """

    def __init__(
        self,
        request_log: RequestLog,
        *,
        hides_last: bool,
        hides_others: bool,
        num_answers: int = 1,
        answers_per_prompt: int = 1,
    ) -> None:
        self._visit = request_log
        self._hides_last, self._hides_others = hides_last, hides_others
        self._num_answers, self._answers_per_prompt = num_answers, answers_per_prompt
        self._prompts: dict[int, int] = {}
        self._answers: dict[int, int] = {}
        self._failed = False

    def passed(self, chunk: bytes, more: bool) -> bytes:
        """See `Usage.passed`; a chunk holds whole events, and nearly always one."""
        if self._failed:
            return b""
        if (at := chunk.find(_KEY)) >= 0:
            if chunk.find(_END) == len(chunk) - len(_END):
                return self._event(chunk, at)
            events = chunk.split(_END)
            return b"".join(self._event(each + _END, each.find(_KEY)) for each in events if each)
        if chunk.startswith(_ERROR):
            self._failed = True
            self._visit.ended = "error"
        return chunk

    def _event(self, event: bytes, at: int) -> bytes:
        """The part of an event that is sent to the client; its usage begins at `at`."""
        found = _USAGE.match(event, at) if at >= 0 else None
        if found is None:
            return event
        tokens = int(found[1]), int(found[2])
        if _NO_CHOICES in event:
            self._visit.used(*tokens)
            return b"" if self._hides_last else event
        if self._num_answers > 1:
            tokens = self._summed(event, *tokens)
        self._visit.used(*tokens)
        # With the comma before it: it is never an event's first field.
        return event[: at - 1] + event[found.end() :] if self._hides_others else event

    def _summed(self, event: bytes, prompt: int, answer: int) -> tuple[int, int]:
        """Tokens of all prompts and answers, with those of the answer that an event is of."""
        index = _INDEX.search(event)
        at = int(index[1]) if index else 0
        self._prompts[at // self._answers_per_prompt] = prompt
        self._answers[at] = answer
        return sum(self._prompts.values()), sum(self._answers.values())


def usage_reader(request_log: RequestLog, question: Question) -> Usage:
    """What notes the usage in the answer to a question."""
    if not question.stream:
        return UsageInBody(request_log)
    return UsageInEvents(
        request_log,
        hides_last=not question.wants_usage,
        hides_others=not question.wants_continuous_usage,
        num_answers=question.num_answers,
        answers_per_prompt=question.answers_per_prompt,
    )
