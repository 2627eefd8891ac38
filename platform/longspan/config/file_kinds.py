"""Kinds of files that a user writes, told apart by their keys: one given to a wrong command is named as what it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from longspan.config.section import Section
from longspan.errors import UserError


@dataclass(frozen=True)
class Kind:
    """One kind of file.

    Attributes:
        name: as a message has it.
        command: takes such a file; {path} is its place.
        what: the first word of messages about it.
    """

    name: str
    command: str
    what: str = "recipe"


PRETRAINING = Kind("a recipe of continual pretraining", "longspan pretrain {path}")
FINETUNING = Kind("a recipe of supervised finetuning", "longspan sft {path}")
SELF_INSTRUCT = Kind("a recipe of self-instruct", "longspan self-instruct {path}")
EVALUATION = Kind("a recipe of evaluation", "longspan evaluate {path}")
PIPELINE = Kind("a pipeline, which names recipes", "longspan pipeline {path}")
SERVING = Kind("a config of the chat service", "longspan serve plan --config {path}", "config")
CLUSTER = Kind("the settings of a cluster", "longspan cluster render --settings {path}", "settings")

STAGES = ("pretrain", "self_instruct", "sft", "evaluate")
OF_EXAMPLES = ("pack", "prompt_loss")


class DescribedFile(Section):
    """A schema of a whole file."""

    kind: ClassVar[Kind]
    """Kind of the file."""


def require_kind(data: Any, asked: Kind, path: object) -> None:
    """Refuse a file that is clearly of another kind.

    Args:
        data: what the file holds.
        asked: the kind that the command takes.
        path: where it is.

    Raises:
        UserError: it is of another kind (which is named, with the key that says so and the command that takes it).
    """
    found = next(_evidence(data), None)
    if found is None:
        return
    kind, key = found
    # All keys of pretraining are keys of finetuning as well.
    if kind is asked or (kind is PRETRAINING and asked is FINETUNING):
        return
    raise UserError(
        f"{asked.what}: {path} is {kind.name} ({key} is a key of these), not {asked.name}; "
        f"run: {kind.command.format(path=path)}"
    )


def kind_of(data: Any) -> Kind | None:
    """Return the kind that a file clearly is of, or None."""
    return next((kind for kind, _ in _evidence(data)), None)


def is_finetuning(data: Any) -> bool:
    """Whether a file is clearly a recipe of supervised finetuning."""
    return next((kind is FINETUNING for kind, _ in _evidence(data)), False)


def _evidence(data: Any) -> Iterator[tuple[Kind, str]]:
    """The kinds that a file may be of, the surest first, each with the key that says so."""
    if not isinstance(data, Mapping):
        return
    for key, kind in (
        ("applications", SERVING),
        ("pools", CLUSTER),
        ("generator", SELF_INSTRUCT),
        ("probes", EVALUATION),
        ("own_documents", EVALUATION),
    ):
        if key in data:
            yield kind, key
    for stage in STAGES:
        if isinstance(data.get(stage), Mapping) and "recipe" in data[stage]:
            yield PIPELINE, f"{stage}.recipe"
    training = data.get("training")
    if isinstance(training, Mapping) and "epochs" in training:
        yield FINETUNING, "training.epochs"
    if (key := _of_examples(data.get("corpora"))) and "base_model" in data:
        yield FINETUNING, key
    if "base_model" in data:
        yield PRETRAINING, "base_model"


def _of_examples(corpora: Any) -> str | None:
    """A key of conversations in corpora of which none has a weight."""
    if not isinstance(corpora, list) or not all(isinstance(each, Mapping) for each in corpora):
        return None
    if any("weight" in each for each in corpora):
        return None
    for each in corpora:
        keys = [key for key in OF_EXAMPLES if key in each]
        if each.get("format") == "chat":
            keys.append("format: chat")
        if keys:
            return f"corpora.{each.get('name')}.{keys[0]}"
    return None
