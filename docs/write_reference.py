"""Write docs/reference.md, all keys that a user can set, from the schemas: python docs/write_reference.py."""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from annotated_types import BaseMetadata, Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from longspan.evaluate.schema import EvaluateRecipe
from longspan.instruct.schema import InstructRecipe
from longspan.pipeline.schema import PipelineRecipe
from longspan.recipe.schema import Recipe
from longspan.recipe.sft import SftRecipe
from longspan.serve.schema import ServeSettings

PAGE = Path(__file__).with_name("reference.md")
UNSET = "Unset: "
"""Begins the sentence of a description that says what holds where the key is not set."""
OPENING = """# All keys

Written by `python docs/write_reference.py` from the schemas; do not edit. Values are YAML. `corpora.*.path` is the key
`path` of each item of the list `corpora`: in a file `corpora: [{name: books, path: ...}]`, on the command line
`corpora.books.path=...`. Unknown keys are refused, with the nearest known one. `--plan` prints each derived value with
its reason.
"""
WORDS: dict[type, str] = {int: "integer", float: "number", str: "text", bool: "true or false"}
BOUNDS: dict[type, tuple[str, str]] = {
    Ge: ("ge", "at least"),
    Gt: ("gt", "above"),
    Le: ("le", "at most"),
    Lt: ("lt", "below"),
}


@dataclass(frozen=True)
class Row:
    """One key."""

    key: str
    type: str
    default: str
    meaning: str


@dataclass(frozen=True)
class Part:
    """One file's keys."""

    title: str
    text: str
    schema: type[BaseModel]
    like: type[BaseModel] | None = None
    """Keys that are the same there are left out."""


PARTS = (
    Part(
        "Continual pretraining",
        "Recipes of `jobs/pretrain.py` and `jobs/ingest.py`; examples are in `jobs/recipes/`.",
        Recipe,
    ),
    Part(
        "Supervised finetuning",
        "Recipes of `jobs/sft.py` ([sft.md](sft.md)) have the keys above. These differ:",
        SftRecipe,
        Recipe,
    ),
    Part(
        "Self-instruct",
        "Recipes of `jobs/self_instruct.py` ([self_instruct.md](self_instruct.md)).",
        InstructRecipe,
    ),
    Part(
        "Evaluation",
        "Recipes of `jobs/evaluate.py` ([evaluate.md](evaluate.md)); examples are in `jobs/recipes/evaluate/`.",
        EvaluateRecipe,
    ),
    Part("Pipeline", "Files of `jobs/pipeline.py` ([pipeline.md](pipeline.md)).", PipelineRecipe),
    Part(
        "Chat service",
        "`args` of the application in `serving/chat.yaml` ([serving.md](serving.md)); everything around them is Ray "
        "Serve's own.",
        ServeSettings,
    ),
)


def rows_of(schema: type[BaseModel], prefix: str = "") -> Iterator[Row]:
    """All keys of a schema, those of a section below the section's own."""
    for name, field in schema.model_fields.items():
        key = prefix + name
        inner = section_in(field.annotation)
        yield Row(key, type_in_words(field), default_in_words(field, inner), meaning(field, inner))
        if inner is not None:
            yield from rows_of(inner, f"{key}.{'*.' if is_plural(field.annotation) else ''}")


def meaning(field: FieldInfo, inner: type[BaseModel] | None) -> str:
    """Meaning of a key, without the part that describes an unset key."""
    text = field.description or (inner.__doc__ if inner is not None else None) or ""
    return one_line(text).partition(UNSET)[0].strip()


def default_in_words(field: FieldInfo, inner: type[BaseModel] | None) -> str:
    """The default of a key, or what holds where it is unset."""
    if field.is_required():
        return "required"
    stated = one_line(field.description or "").partition(UNSET)[2].strip().removesuffix(".")
    if stated:
        return stated
    default = field.get_default(call_default_factory=True)
    if isinstance(default, BaseModel):
        given = default.model_dump(exclude_unset=True)
        return f"`{json.dumps(given)}`" if given else ""
    if default is None and inner is not None:
        return "none"
    return f"`{json.dumps(default)}`"


def type_in_words(field: FieldInfo) -> str:
    """The values that a key takes."""
    bounds = [in_words for each in field.metadata if (in_words := bound_in_words(each))]
    return ", ".join([annotation_in_words(field.annotation), *bounds])


def annotation_in_words(annotation: Any) -> str:
    """A type as a user writes its values."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return annotation_in_words(arguments[0])
    if origin is Literal:
        return ", ".join(f"`{json.dumps(value).strip(chr(34))}`" for value in arguments)
    if origin in (Union, UnionType):
        shown = [annotation_in_words(each) for each in arguments if each is not type(None)]
        return " or ".join(dict.fromkeys(shown))
    if origin is list:
        return f"list of {annotation_in_words(arguments[0])}"
    if origin is tuple:
        return f"list of {len(arguments)}: {annotation_in_words(arguments[0])}"
    if origin is dict:
        return "keys and values"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    return WORDS[annotation]


def bound_in_words(metadata: Any) -> str:
    """A bound of a number or of a length."""
    if isinstance(metadata, MinLen):
        return "not empty"
    if isinstance(metadata, BaseMetadata) and type(metadata) in BOUNDS:
        attribute, words = BOUNDS[type(metadata)]
        return f"{words} {getattr(metadata, attribute)}"
    return ""


def section_in(annotation: Any) -> type[BaseModel] | None:
    """The schema of a section, of a list's items or of a mapping's values."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = [section_in(each) for each in get_args(annotation)]
    return next((each for each in found if each is not None), None)


def is_plural(annotation: Any) -> bool:
    """Whether a key holds several sections."""
    origin = get_origin(annotation)
    return origin in (list, dict) or any(is_plural(each) for each in get_args(annotation))


def one_line(text: str) -> str:
    """A docstring as a cell of a table."""
    return " ".join(text.split()).replace("``", "`").replace("|", "\\|")


def page() -> str:
    """The whole page."""
    lines = [OPENING]
    for part in PARTS:
        known = set(rows_of(part.like)) if part.like else set()
        lines += [f"## {part.title}", "", part.text, "", "| key | values | default | meaning |"]
        lines.append("| :-- | :-- | :-- | :-- |")
        for row in rows_of(part.schema):
            if row not in known:
                lines.append(f"| `{row.key}` | {row.type} | {row.default} | {row.meaning} |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """Write the page."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
