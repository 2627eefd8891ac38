"""Options of an extension: the parameters of its constructor, read from a recipe with pydantic."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from longspan.errors import UserError

_NO_OPTIONS = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def validated(
    found: type[Any], options: Mapping[str, Any], key: str, given: int = 0
) -> dict[str, Any]:
    """Return a class's options as keyword arguments of its constructor.

    Args:
        found: the class; its constructor's parameters and their annotations are its options.
        options: what the recipe has.
        key: recipe key of the options, for messages.
        given: how many of the constructor's parameters are not options, because the caller gives them.

    Raises:
        UserError: an option is unknown, missing or of another type; all problems, a line each.
    """
    model = _model(found, key, given)
    try:
        read = model.model_validate(dict(options))
    except ValidationError as error:
        raise UserError("\n".join(_problems(error, key, list(model.model_fields)))) from None
    return {name: getattr(read, name) for name in model.model_fields}


def _model(found: type[Any], key: str, given: int) -> type[BaseModel]:
    """The options of a class as a schema."""
    if found.__init__ is object.__init__:
        return create_model("Options", __config__=ConfigDict(extra="forbid"))
    try:
        hints = get_type_hints(found.__init__, include_extras=True)
    except NameError as error:
        raise UserError(
            f"{key}: the annotations of {found.__name__}.__init__ cannot be read ({error}); import what they name "
            "outside `if TYPE_CHECKING`"
        ) from error
    parameters = list(inspect.signature(found).parameters.values())[given:]
    fields: dict[str, Any] = {}
    for each in parameters:
        if each.kind in _NO_OPTIONS:
            raise UserError(
                f"{key}: {found.__name__}.__init__ takes {each}, which has no names; list its options"
            )
        if each.name not in hints:
            raise UserError(
                f"{key}: {found.__name__}.__init__ has no type for {each.name}; annotate it"
            )
        default = ... if each.default is inspect.Parameter.empty else each.default
        fields[each.name] = (hints[each.name], default)
    config = ConfigDict(extra="forbid", allow_inf_nan=False)
    return create_model("Options", __config__=config, **fields)


def _problems(error: ValidationError, key: str, known: list[str]) -> list[str]:
    lines = []
    for problem in error.errors():
        where = ".".join([key, *map(str, problem["loc"])])
        if problem["type"] == "extra_forbidden":
            known_ones = f"options are {', '.join(known)}" if known else "it takes no options"
            lines.append(f"{where}: unknown option; {known_ones}")
        elif problem["type"] == "missing":
            lines.append(f"{where}: required, but not set")
        elif problem["type"] == "value_error":
            lines.append(f"{where}: {problem['msg'].removeprefix('Value error, ')}")
        else:
            message = problem["msg"].removeprefix("Input should be ")
            lines.append(f"{where}: must be {message}, but is {problem['input']!r}")
    return lines
