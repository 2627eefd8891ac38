"""JSON schemas that no finite answer can satisfy, because they refer to themselves without an end.

The engine compiles a grammar of such a schema without complaint. No token may follow then, at once or
after some, and it ends the request as its own failure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

Schema = dict[str, Any]
Groups = list[list[Schema]]
"""Schemas of which one each must have an answer, so that the schema that needs them has one."""


def endless_part(root: Any) -> str | None:
    """A part of a JSON schema that has no finite answer, as a reference or by its keywords.

    Optional parts count: the model may begin one. None if all parts have an answer. Only references
    within the schema are followed, and constraints other than required parts are not looked at.
    """
    if not isinstance(root, dict):
        return None
    needs: dict[int, Groups] = {}
    schemas: dict[int, Schema] = {}
    rest = [root]
    while rest:
        schema = rest.pop()
        if id(schema) not in schemas:
            schemas[id(schema)] = schema
            needs[id(schema)] = _needs(schema, root)
            rest += [each for group in needs[id(schema)] for each in group]
            rest += _optional(schema)
    answerable = _answerable(needs)
    endless = next((schema for key, schema in schemas.items() if key not in answerable), None)
    return (
        None if endless is None else str(endless.get("$ref") or "/".join(map(str, endless)))[:100]
    )


def _answerable(needs: dict[int, Groups]) -> set[int]:
    """Keys of schemas with a finite answer: those that need nothing, and what these suffice for."""
    missing = {key: len(groups) for key, groups in needs.items()}
    waiting: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for key, groups in needs.items():
        for number, group in enumerate(groups):
            for schema in group:
                waiting[id(schema)].append((key, number))
    found: set[int] = set()
    met: set[tuple[int, int]] = set()
    ready = [key for key, count in missing.items() if not count]
    while ready:
        key = ready.pop()
        if key in found:
            continue
        found.add(key)
        for group in waiting[key]:
            if group not in met:
                met.add(group)
                missing[group[0]] -= 1
                if not missing[group[0]]:
                    ready.append(group[0])
    return found


def _needs(schema: Schema, root: Schema) -> Groups:
    reference = schema.get("$ref")
    if isinstance(reference, str):
        target = _target(root, reference)
        return [] if target is None else [[target]]
    found: Groups = []
    for keyword in ("anyOf", "oneOf"):
        options = schema.get(keyword)
        if isinstance(options, list) and all(isinstance(each, dict) for each in options):
            found += [options] if options else []
    found += [[each] for each in _list(schema.get("allOf")) if isinstance(each, dict)]
    if schema.get("type", "object") == "object":
        properties = schema.get("properties")
        properties = properties if isinstance(properties, dict) else {}
        required = [name for name in _list(schema.get("required")) if isinstance(name, str)]
        found += [[properties[n]] for n in required if isinstance(properties.get(n), dict)]
    if schema.get("type") == "array":
        least = schema.get("minItems")
        least = least if isinstance(least, int) else 0
        first = _list(schema.get("prefixItems"))
        found += [[each] for each in first[:least] if isinstance(each, dict)]
        if least > len(first) and isinstance(schema.get("items"), dict):
            found.append([schema["items"]])
    return found


def _optional(schema: Schema) -> Iterator[Schema]:
    """Schemas of parts that an answer may have."""
    if "$ref" in schema:
        return
    for keyword in ("properties", "patternProperties"):
        if isinstance(named := schema.get(keyword), dict):
            yield from (each for each in named.values() if isinstance(each, dict))
    for keyword in ("items", "additionalProperties", "unevaluatedProperties", "additionalItems"):
        if isinstance(schema.get(keyword), dict):
            yield schema[keyword]
    for keyword in ("prefixItems", "items", "anyOf", "oneOf"):
        yield from (each for each in _list(schema.get(keyword)) if isinstance(each, dict))


def _target(root: Schema, reference: str) -> Schema | None:
    """The schema that a reference within the document names; the engine refuses one that names nothing."""
    if not reference.startswith("#"):
        return None
    node: Any = root
    for part in filter(None, unquote(reference[1:]).split("/")):
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(node, dict):
            node = node.get(name)
        elif isinstance(node, list) and name.isdigit() and int(name) < len(node):
            node = node[int(name)]
        else:
            return None
    return node if isinstance(node, dict) else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
