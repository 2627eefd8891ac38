"""docs/reference.md is what the schemas say, and every key says what it means."""

import runpy
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from longspan.config.explain import all_keys
from longspan.instruct.schema import InstructRecipe
from longspan.pipeline.schema import PipelineRecipe
from longspan.recipe.schema import Recipe
from longspan.recipe.sft import SftRecipe
from longspan.serve.schema import ServeSettings

ROOT = Path(__file__).parents[2]
SCHEMAS = (Recipe, SftRecipe, InstructRecipe, PipelineRecipe, ServeSettings)


@pytest.fixture(scope="module")
def writer() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "docs" / "write_reference.py"))


def test_the_page_is_up_to_date(writer: dict[str, Any]) -> None:
    written = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert written == writer["page"](), "python docs/write_reference.py writes it anew"


@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_key_is_described(schema: type[BaseModel], writer: dict[str, Any]) -> None:
    rows = list(writer["rows_of"](schema))
    assert not [row.key for row in rows if not row.meaning or not row.type]
    # A key that may be unset says what holds then.
    assert not [row.key for row in rows if row.default == "`null`"]
    assert [row.key.replace("*.", "") for row in rows] == all_keys(schema)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_key_is_on_the_page(schema: type[BaseModel], writer: dict[str, Any]) -> None:
    page = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert all(f"| `{row.key}` |" in page for row in writer["rows_of"](schema))


def test_what_holds_where_a_key_is_unset_is_no_part_of_its_meaning(writer: dict[str, Any]) -> None:
    rows = {row.key: row for row in writer["rows_of"](Recipe)}
    row = rows["training.tokens_per_update"]
    assert row.default == "4,194,304, or a hundredth of a shorter run"
    assert row.meaning == "Tokens of one optimizer update, at every row length."
    assert row.type == "integer, above 0"
    assert rows["workers.min"].default == "`1`"
    assert rows["packing"].default == ""


def test_the_schema_of_results_is_up_to_date() -> None:
    writer = runpy.run_path(str(ROOT / "docs" / "write_results_schema.py"))
    written = (ROOT / "docs" / "results.schema.json").read_text(encoding="utf-8")
    assert written == writer["schema"](), "python docs/write_results_schema.py writes it anew"
