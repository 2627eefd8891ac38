"""Cost of the grammar that an answer must follow: JSON schemas, regular expressions, EBNF.

The engine compiles a grammar before it generates, nothing cancels that, and a kilobyte may take minutes
of all cores. What costs was measured with xgrammar 0.2.8 and a vocabulary of 60,000 tokens on two cores:
optional properties of one object, by the square of their number (256: 1 to 13 s), and each place
of a string where nearly any character may stand (30 ms). Such places are made by lengths (`maxLength: 127`
makes 127, a larger one no more) and by patterns. Size and nesting alone are cheap.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json, to_json

from longspan.serve.gateway.patterns import MAX_UNROLLED, num_places

COUNTED_PROPERTIES = 4
"""Factor of properties whose number is bounded too."""
PATTERN_KEYS = ("pattern", "regex")
"""Of schemas and structural tags: their value is a regular expression."""


@dataclass(frozen=True)
class GrammarSize:
    """Measures of a grammar that decide how long compiling it takes.

    Attributes:
        num_bytes: size as JSON in UTF-8.
        depth: nesting of objects and lists.
        properties: optional properties that would cost as much in a single object, i.e. the root of
            the sum of squares over all objects.
        places: where nearly any character may stand.
    """

    num_bytes: int
    depth: int
    properties: float
    places: int


def schema_size(schema: Any) -> GrammarSize:
    """Measure a JSON schema, a structural tag, or a text with either in JSON."""
    if isinstance(schema, str):
        num_bytes, schema = len(schema.encode()), json_in(schema)
    else:
        num_bytes = len(to_json(schema))
    depth, squares = 0, 0
    lengths: set[tuple[float, float]] = set()
    patterns: set[str] = set()
    for node, at in _nodes(schema):
        depth = max(depth, at)
        if isinstance(node, dict):
            squares += _num_optional(node) ** 2
            lengths.add(_length(node))
            patterns.update(_patterns(node))
    # The same length or pattern is compiled once, wherever it is.
    places = sum(int(min(max(pair), MAX_UNROLLED)) for pair in lengths)
    places += sum(map(num_places, patterns))
    return GrammarSize(num_bytes, depth, squares**0.5, places)


def pattern_size(pattern: str) -> GrammarSize:
    """Measure a regular expression."""
    return GrammarSize(len(pattern.encode()), 1, 0.0, num_places(pattern))


def text_size(text: str) -> GrammarSize:
    """Measure a grammar of which no more than its size is known."""
    return GrammarSize(len(text.encode()), 1, 0.0, 0)


def json_in(text: Any) -> Any:
    """The JSON in a text, None where it holds none: the engine then refuses it. Other values stay as they are."""
    if not isinstance(text, str):
        return text
    try:
        return from_json(text)
    except ValueError:
        return None


def _nodes(value: Any) -> Iterator[tuple[dict[str, Any] | list[Any], int]]:
    """Objects and lists of a JSON value with their depth, without recursion."""
    rest = [(value, 1)]
    while rest:
        node, depth = rest.pop()
        if isinstance(node, dict | list):
            yield node, depth
            children = node.values() if isinstance(node, dict) else node
            rest.extend((child, depth + 1) for child in children)


def _num_optional(schema: dict[str, Any]) -> int:
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(properties, dict):
        return 0
    required = required if isinstance(required, list) else []
    names = {name for name in required if isinstance(name, str)}
    optional = sum(name not in names for name in properties)
    counted = "minProperties" in schema or "maxProperties" in schema
    return optional * (COUNTED_PROPERTIES if counted else 1)


def _length(schema: dict[str, Any]) -> tuple[float, float]:
    """Bounds of a string's length, 0 for none."""
    low, high = (schema.get(name) for name in ("minLength", "maxLength"))
    return _size(low), _size(high)


def _size(value: Any) -> float:
    return abs(value) if isinstance(value, int | float) else 0


def _patterns(schema: dict[str, Any]) -> Iterator[str]:
    for key in PATTERN_KEYS:
        if isinstance(text := schema.get(key), str):
            yield text
    if isinstance(named := schema.get("patternProperties"), dict):
        yield from named
