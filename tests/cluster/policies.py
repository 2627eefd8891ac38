"""IAM's rule for one identity policy: denied where a statement denies it, else allowed where one allows it."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

Context = Mapping[str, str | Sequence[str]]


def allows(
    policy: Mapping[str, Any], action: str, resource: str, context: Context | None = None
) -> bool:
    """Whether a request is allowed; `context` holds the keys that AWS would fill in for it."""
    effects = {
        statement["Effect"]
        for statement in policy["Statement"]
        if _one_of(action, statement["Action"])
        and _one_of(resource, statement["Resource"])
        and _holds(statement.get("Condition", {}), context or {})
    }
    assert effects <= {"Allow", "Deny"}
    return effects == {"Allow"}


def _holds(condition: Mapping[str, Mapping[str, Any]], context: Context) -> bool:
    return all(
        _compare(operator, key, wanted, context)
        for operator, keys in condition.items()
        for key, wanted in keys.items()
    )


def _compare(operator: str, key: str, wanted: str | list[str], context: Context) -> bool:
    kind = operator.removeprefix("ForAllValues:").removesuffix("IfExists")
    assert kind in ("StringEquals", "StringLike", "ArnLike"), f"{operator} is not known here"
    values = [wanted] if isinstance(wanted, str) else wanted
    if key not in context:
        return kind != operator
    found = context[key]
    if operator.startswith("ForAllValues:"):
        assert not isinstance(found, str)
        return all(_matches(kind, each, values) for each in found)
    assert isinstance(found, str)
    return _matches(kind, found, values)


def _matches(kind: str, found: str, values: list[str]) -> bool:
    return found in values if kind == "StringEquals" else _one_of(found, values)


def _one_of(text: str, patterns: Sequence[str]) -> bool:
    # IAM's wildcards are * and ?; a bracket means itself.
    return any(fnmatchcase(text, pattern.replace("[", "[[]")) for pattern in patterns)
