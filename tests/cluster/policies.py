"""IAM's rule for one identity policy: allowed where a statement allows it, and denied otherwise."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any


def allows(
    policy: Mapping[str, Any], action: str, resource: str, context: Mapping[str, str] | None = None
) -> bool:
    """Whether a request is allowed; `context` holds the keys that AWS would fill in for it."""
    statements: Sequence[Mapping[str, Any]] = policy["Statement"]
    assert {statement["Effect"] for statement in statements} == {"Allow"}
    return any(
        _one_of(action, statement["Action"])
        and _one_of(resource, statement["Resource"])
        and _holds(statement.get("Condition", {}), context or {})
        for statement in statements
    )


def _holds(condition: Mapping[str, Mapping[str, Any]], context: Mapping[str, str]) -> bool:
    return all(
        _compare(operator, key, wanted, context)
        for operator, keys in condition.items()
        for key, wanted in keys.items()
    )


def _compare(operator: str, key: str, wanted: str | list[str], context: Mapping[str, str]) -> bool:
    kind = operator.removesuffix("IfExists")
    assert kind in ("StringEquals", "StringLike"), f"{operator} is not known here"
    if key not in context:
        return kind != operator
    values = [wanted] if isinstance(wanted, str) else wanted
    if kind == "StringEquals":
        return context[key] in values
    return _one_of(context[key], values)


def _one_of(text: str, patterns: Sequence[str]) -> bool:
    # IAM's wildcards are * and ?; a bracket means itself.
    return any(fnmatchcase(text, pattern.replace("[", "[[]")) for pattern in patterns)
