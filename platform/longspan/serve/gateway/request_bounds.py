"""Bounds of a parsed request that depend on the config, the model's window, or several fields at once."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator
from typing import Any

from longspan.serve.gateway.errors import Refusal
from longspan.serve.gateway.grammar import (
    GrammarSize,
    json_in,
    pattern_size,
    schema_size,
    text_size,
)
from longspan.serve.gateway.limits import GatewayLimits
from longspan.serve.gateway.request_fields import (
    IGNORED,
    REFUSED,
    ChatFields,
    CompletionFields,
    GenerationFields,
)
from longspan.serve.gateway.satisfiable import endless_part

TEXT_PARTS = ("text", "input_text", "output_text", "refusal", "thinking")
MAX_UNKNOWN = 64
DEFAULTS = (("function_call", "none"), ("function_call", "auto"))
"""Refused fields with values that ask for nothing."""
SIMILAR = 0.85
"""Likeness of two names, by difflib's measure, from which one counts as the other mistyped."""


def check_names(body: dict[str, Any], model: type[GenerationFields]) -> None:
    """Raise a `Refusal` for a field that would change the answer if it were ignored."""
    known = model.model_fields.keys() | IGNORED
    unknown = [name for name in body if name not in known]
    for name in unknown:
        if name in REFUSED and body[name] and (name, body[name]) not in DEFAULTS:
            raise invalid(f"{name}: {REFUSED[name]}.", name)
    unknown = [name for name in unknown if name not in REFUSED and name != "best_of"]
    if len(unknown) > MAX_UNKNOWN:
        raise invalid(f"The request has {len(unknown)} unknown fields; leave them out.")
    for name in unknown:
        if len(name) <= MAX_UNKNOWN and (
            near := difflib.get_close_matches(name, known, 1, SIMILAR)
        ):
            raise invalid(f"{name}: is not a field of this API; did you mean {near[0]}?", name)


def num_prompts(fields: GenerationFields) -> int:
    """Prompts of one request, each with its own answers."""
    prompt = fields.prompt if isinstance(fields, CompletionFields) else None
    several = isinstance(prompt, list) and bool(prompt) and not isinstance(prompt[0], int)
    return len(prompt) if isinstance(prompt, list) and several else 1


def num_token_ids(fields: GenerationFields) -> int:
    """Tokens of prompts that are given as token ids; 0 for text."""
    prompt = fields.prompt if isinstance(fields, CompletionFields) else None
    parts = prompt if isinstance(prompt, list) else []
    return sum(len(part) if isinstance(part, list) else isinstance(part, int) for part in parts)


def check_lengths(fields: GenerationFields, limits: GatewayLimits, window: int) -> None:
    """Raise a `Refusal` for more tokens, answers or messages than one request may have."""
    limit = limits.max_output_tokens or window
    for name in ("max_tokens", "max_completion_tokens", "min_tokens"):
        check_range(name, getattr(fields, name, None), 0, limit, "tokens")
    most = limits.max_sequences
    check_range("n", fields.n, 1, most, "answers")
    prompts, answers = num_prompts(fields), fields.n or 1
    if prompts * answers > most:
        raise invalid(
            f"prompt: {prompts} prompts with {answers} answers each are more than the {most} "
            "answers that one request may ask for.",
            "prompt",
        )
    if isinstance(fields, ChatFields) and len(fields.messages) > window:
        raise invalid(
            f"messages: {len(fields.messages)} messages have more than the {window} tokens of the "
            "model's window; send fewer.",
            "messages",
        )


def check_best_of(value: Any, n: int | None) -> None:
    """Raise a `Refusal` unless `best_of`, which the engine no longer knows, asks for nothing more than `n`."""
    if value is not None and str(value) not in ("1", str(n or 1)):
        raise invalid("best_of: answers are not ranked; send n alone.", "best_of")


def check_content(fields: ChatFields) -> None:
    """Raise a `Refusal` for a part of a message that is no text: the engine would fetch and decode it."""
    for at, message in enumerate(fields.messages):
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            kind = part.get("type", "text") if isinstance(part, dict) else "text"
            media = isinstance(part, dict) and any(
                name in part for name in ("image_url", "input_audio", "audio_url", "video_url")
            )
            if kind not in TEXT_PARTS or media:
                where = f"messages.{at}.content"
                raise invalid(
                    f"{where}: only parts with text are served, not {str(kind)[:40]!r}.", where
                )


def check_template_kwargs(fields: ChatFields) -> None:
    """Raise a `Refusal` for arguments that would be the template's own, or those of its rendering."""
    for name in ("chat_template", "tokenize", "messages", "conversation"):
        if name in (fields.chat_template_kwargs or {}):
            raise invalid(
                f"chat_template_kwargs.{name}: is not taken from requests; leave it out.",
                "chat_template_kwargs",
            )


def check_grammars(fields: GenerationFields, limits: GatewayLimits) -> None:
    """Raise a `Refusal` for a grammar that would take the engine long to compile."""
    _check_kinds(fields, limits)
    squares, places = 0.0, 0
    for name, size in _grammars(fields):
        squares += size.properties**2
        places += size.places
        _check_grammar(name, "bytes", size.num_bytes, limits.max_grammar_bytes, "shorten it")
        _check_grammar(name, "levels", size.depth, limits.max_grammar_depth, "flatten it")
        hint = "list them in 'required', or spread them over several objects"
        most = limits.max_grammar_properties
        _check_grammar(name, "optional properties", math.ceil(squares**0.5), most, hint)
        hint = "leave out maxLength and {m,n}, or make them smaller"
        _check_grammar(name, "repeated characters", places, limits.max_grammar_repeats, hint)
    for name, schema in _schemas(fields):
        if part := endless_part(schema):
            raise invalid(
                f"{name}: no answer can follow this schema: {part!r} refers to itself without an end.",
                name,
            )


def has_grammar(fields: GenerationFields) -> bool:
    """Whether an answer has to follow a grammar."""
    form = (fields.response_format or {}).get("type", "text")
    tools = isinstance(fields, ChatFields) and bool(fields.tools) and _compiles_tools(fields)
    return form != "text" or fields.structured_outputs is not None or tools


def _schemas(fields: GenerationFields) -> Iterator[tuple[str, Any]]:
    """JSON schemas that the engine would compile, by field."""
    described = (fields.response_format or {}).get("json_schema")
    if isinstance(described, dict):
        yield "response_format", described.get("schema")
    if fields.structured_outputs:
        yield "structured_outputs.json", json_in(fields.structured_outputs.json_)
    if isinstance(fields, ChatFields) and fields.tools and _compiles_tools(fields):
        for at, tool in enumerate(fields.tools):
            function = tool.get("function")
            if isinstance(function, dict):
                yield f"tools.{at}", function.get("parameters")


def _check_kinds(fields: GenerationFields, limits: GatewayLimits) -> None:
    """Raise a `Refusal` for grammars whose cost cannot be told: a few bytes may hold the engine up for all."""
    given = fields.structured_outputs
    form = (fields.response_format or {}).get("type")
    kinds = {
        "structured_outputs.grammar": given and given.grammar,
        "structured_outputs.structural_tag": given and given.structural_tag,
        "response_format": form == "structural_tag",
    }
    name = next((name for name, value in kinds.items() if value), None)
    if name and not limits.allow_grammars:
        raise invalid(
            f"{name}: grammars and structural tags are not served; send a JSON schema or a regex, or "
            "ask whoever runs the service to set limits.allow_grammars.",
            name,
        )


def _check_grammar(name: str, unit: str, value: int, most: int, hint: str) -> None:
    if value > most:
        raise invalid(f"{name}: {value} {unit} are more than {most}; {hint}.", name)


def _grammars(fields: GenerationFields) -> Iterator[tuple[str, GrammarSize]]:
    """Sizes of the grammars that the engine would compile, by field."""
    if fields.response_format:
        yield "response_format", schema_size(fields.response_format)
    if given := fields.structured_outputs:
        for name, schema in (("json", given.json_), ("structural_tag", given.structural_tag)):
            if schema:
                yield f"structured_outputs.{name}", schema_size(schema)
        for name, regex in (
            ("regex", given.regex),
            ("whitespace_pattern", given.whitespace_pattern),
        ):
            if regex:
                yield f"structured_outputs.{name}", pattern_size(regex)
        if given.grammar:
            yield "structured_outputs.grammar", text_size(given.grammar)
        if given.choice:
            yield "structured_outputs.choice", schema_size(given.choice)
    if isinstance(fields, ChatFields) and fields.tools and _compiles_tools(fields):
        for at, tool in enumerate(fields.tools):
            yield f"tools.{at}", schema_size(tool)


def _compiles_tools(fields: ChatFields) -> bool:
    """Whether calls are held to the tools' schemas; otherwise those are only read by the model."""
    if fields.tool_choice in (None, "auto"):
        functions = [tool.get("function") for tool in fields.tools or ()]
        return any(isinstance(each, dict) and each.get("strict") for each in functions)
    return fields.tool_choice != "none"


def check_range(name: str, value: int | None, least: int, most: int, unit: str) -> None:
    """Raise a `Refusal` for a number out of bounds; None is none."""
    if value is not None and not least <= value <= most:
        shown = str(value) if abs(value) < 10**20 else "a number of more than 20 digits"
        raise invalid(f"{name}: must be {least} to {most} {unit}, not {shown}.", name)


def invalid(message: str, param: str | None = None) -> Refusal:
    """A refusal of a body, with status 400."""
    return Refusal(400, message, param=param)
