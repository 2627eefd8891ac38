"""Former names of keys, accepted for one release with a hint."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, get_origin

from pydantic import BaseModel

from longspan.config.explain import section_in
from longspan.errors import UserError

log = logging.getLogger(__name__)


def with_new_names(schema: type[BaseModel], data: Any, path: str = "") -> Any:
    """Return plain data with today's names of keys; each former name is logged as a warning.

    Args:
        schema: of the data; its sections say what was renamed.
        data: a mapping, or anything else, which is returned as it is.
        path: dotted key of the data, which messages begin with.

    Raises:
        UserError: a key is given under both names.
    """
    if not isinstance(data, Mapping):
        return data
    renamed: Mapping[str, str] = getattr(schema, "renamed", {})
    result: dict[Any, Any] = {}
    for key, value in data.items():
        name = renamed.get(key, key) if isinstance(key, str) else key
        if name != key:
            if name in data:
                raise UserError(
                    f"{path}{key}: renamed to {path}{name}, which is set as well; remove {path}{key}"
                )
            log.warning(
                "%s: renamed to %s; the former name is accepted in this release only",
                f"{path}{key}",
                f"{path}{name}",
            )
        field = schema.model_fields.get(name) if isinstance(name, str) else None
        inner = (
            section_in(field.annotation) if field and not _is_mapping(field.annotation) else None
        )
        result[name] = _renamed_within(inner, value, f"{path}{name}.") if inner else value
    return result


def _renamed_within(schema: type[BaseModel], value: Any, path: str) -> Any:
    if isinstance(value, list):
        return [with_new_names(schema, item, path) for item in value]
    return with_new_names(schema, value, path)


def _is_mapping(annotation: Any) -> bool:
    """Return whether a field's keys are the user's own names, so that none of them was renamed."""
    return get_origin(annotation) in (dict, Mapping)
