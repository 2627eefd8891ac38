"""The tokens that an answer took, as the engine says in its `usage`."""

from __future__ import annotations

from typing import Any, Protocol

from pydantic_core import from_json

from longspan.doors.visit import Visit

_NO_CHOICES = b'"choices":[]'
"""Only in the event with the usage. In a text that holds these characters, their quotes are escaped."""
_ERROR = b'data: {"error"'
_DATA = b"data: "


class Usage(Protocol):
    """Notes the usage in an answer that goes by."""

    def passed(self, chunk: bytes, more: bool) -> bytes:
        """What the client gets of a chunk; `more` says whether another one follows."""
        ...


class UsageInBody:
    """Notes the usage in a JSON answer.

    Args:
        visit: takes it.
    """

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._chunks: list[bytes] = []

    def passed(self, chunk: bytes, more: bool) -> bytes:
        """See `Usage.passed`."""
        self._chunks.append(chunk)
        if not more:
            self._visit.used(_usage_of(b"".join(self._chunks)))
        return chunk


class UsageInEvents:
    """Notes the usage in a stream of events, and hides its event from who didn't ask for it.

    Nothing passes after an event with an error: the engine's `[DONE]` would deny it. All that a
    chunk costs is two searches for a few bytes.

    Args:
        visit: takes it.
        hidden: whether the client is not to see the event.
    """

    def __init__(self, visit: Visit, *, hidden: bool) -> None:
        self._visit = visit
        self._hidden = hidden
        self._told = False
        self._failed = False

    def passed(self, chunk: bytes, more: bool) -> bytes:
        """See `Usage.passed`; a chunk holds whole events."""
        if self._failed:
            return b""
        if _NO_CHOICES in chunk:
            return self._filtered(chunk)
        if chunk.startswith(_ERROR):
            self._failed = True
            self._visit.ended = "error"
        elif not self._told and chunk.startswith(_DATA):
            self._visit.completion_tokens = (self._visit.completion_tokens or 0) + 1
        return chunk

    def _filtered(self, chunk: bytes) -> bytes:
        events = chunk.split(b"\n\n")
        for event in events:
            if _NO_CHOICES in event:
                self._visit.used(_usage_of(event.removeprefix(_DATA)))
                self._told = True
        if not self._hidden:
            return chunk
        return b"\n\n".join(event for event in events if _NO_CHOICES not in event)


def _usage_of(data: bytes) -> dict[str, Any]:
    """The usage in a JSON object; empty where there is none."""
    try:
        answer = from_json(data)
    except ValueError:
        return {}
    usage = answer.get("usage") if isinstance(answer, dict) else None
    return usage if isinstance(usage, dict) else {}
