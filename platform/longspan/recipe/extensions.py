"""Classes of extensions that a recipe names, with their options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from longspan.addresses import http_refusal, may_send_credentials
from longspan.config.section import Section
from longspan.errors import UserError
from longspan.extensions.options import validated
from longspan.extensions.point import ExtensionPoint
from longspan.extensions.points import CALLBACKS, TRACKERS

if TYPE_CHECKING:
    from longspan.recipe.schema import Recipe


class Extension(Section):
    """A class by name, with its options."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _may_be_a_name_alone(cls, value: object) -> object:
        return {"name": value} if isinstance(value, str) else value


class TrackerChoice(Extension):
    """A tracker that gets the run's records, besides the files in `runs/<name>/metrics`, which are always written."""

    name: Annotated[str, AfterValidator(TRACKERS.require_name)]
    """`tensorboard`, `wandb`, `mlflow`, `trackio`, or a tracker of yours (docs/extend.md): `module:Class`, or the name
    of an installed one."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of the tracker (docs/extend.md); never credentials."""


class CallbackChoice(Extension):
    """A callback that every worker calls."""

    name: Annotated[str, AfterValidator(CALLBACKS.require_name)]
    """A class of yours (docs/extend.md): `module:Class`, or the name of an installed one."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of the callback, as its class defines them."""


def require_distinct(chosen: Sequence[Extension]) -> None:
    """No class is named twice.

    Raises:
        ValueError: one is.
    """
    names = [each.name for each in chosen]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{twice[0]!r} is given twice; keep one of them")


def check_extensions(recipe: Recipe) -> None:
    """Import the trackers and callbacks of a recipe, and check their options.

    Raises:
        UserError: one cannot be imported, is not what it should be, or has wrong options; a line each.
    """
    problems = [
        *_problems(TRACKERS, "trackers", recipe.trackers, given=1),
        *_problems(CALLBACKS, "callbacks", recipe.callbacks, given=0),
    ]
    if problems:
        raise UserError("\n".join(problems))


def _require_private(options: Mapping[str, Any], key: str) -> None:
    """Refuse an address to which credentials of the environment would be sent in clear.

    Raises:
        UserError: an option is one.
    """
    for name, value in options.items():
        is_plain = isinstance(value, str) and value.startswith("http://")
        if is_plain and not may_send_credentials(value):
            raise UserError(f"{key}.{name}: {http_refusal(value)}")


def _problems(
    point: ExtensionPoint, key: str, chosen: Sequence[Extension], given: int
) -> list[str]:
    found = []
    for each in chosen:
        of_class = f"{key}.{each.name}"
        try:
            point.require_allowed(each.name, of_class)
            validated(point.load(each.name, of_class), each.options, f"{of_class}.options", given)
            _require_private(each.options, f"{of_class}.options")
        except UserError as error:
            found.append(str(error))
    return found
