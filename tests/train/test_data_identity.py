"""Identity of a run's data: every key of a corpus that decides what its objects become."""

import json

import pytest

from longspan.config.overrides import apply_overrides
from longspan.recipe.load import parse_recipe
from longspan.recipe.schema import Corpus
from longspan.recipe.sft import SftCorpus
from longspan.train.data.identity import (
    NOT_OF_DATA,
    CorpusIdentity,
    DataIdentity,
    data_identity,
)

RECIPE = {
    "name": "run",
    "base_model": "base",
    "target_context": 4096,
    "corpora": [
        {"name": "books", "path": "raw/books", "weight": 0.5, "repository": {"depth": 1}},
        {"name": "web", "path": ["raw/web/*.jsonl"], "weight": 0.5, "where": {"id": {"min": 0.1}}},
    ],
    "decontaminate": {"against": {"quiz": {"path": "raw/quiz.jsonl"}}},
}


def of(*changes: str, tokenizer: str = "0123", template: str = "4567") -> DataIdentity:
    recipe = parse_recipe(apply_overrides(RECIPE, changes))
    return data_identity(recipe, tokenizer, template)


def test_no_key_of_a_corpus_is_forgotten() -> None:
    keys = Corpus.model_fields.keys() | SftCorpus.model_fields.keys()
    assert CorpusIdentity.model_fields.keys() == keys - NOT_OF_DATA


def test_it_comes_back_as_it_was() -> None:
    stored = DataIdentity.model_validate(json.loads(json.dumps(of().to_json())))
    assert stored.differences(of()) == []


def test_a_run_that_began_before_a_key_existed_has_its_default() -> None:
    value = of().to_json()
    for corpus in value["corpora"]:
        del corpus["max_tokens"]
    del value["decontaminate"]["share"]
    stored = DataIdentity.model_validate(value)
    assert stored.differences(of()) == []
    (found,) = stored.differences(of("corpora.web.max_tokens=20"))
    assert (found.key, found.saved, found.current) == ("corpora.web.max_tokens", "none", "20")


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ("corpora.web.where={id: {min: 0.10000000000000002}}", "corpora.web.where"),
        ("corpora.books.repository.depth=2", "corpora.books.repository"),
        ("corpora.books.path=[raw/books, raw/more]", "corpora.books.path"),
        ("heldout.fraction=0.010000000000000002", "heldout.fraction"),
        ("corpora.web.heldout_fraction=0", "corpora.web.heldout_fraction"),
        ("deduplicate=across", "deduplicate"),
        ("decontaminate.ngram=12", "decontaminate"),
        ("decontaminate=null", "decontaminate"),
        ("document_separator=x", "document_separator"),
        ("corpora.web.name=net", "corpora"),
    ],
)
def test_a_change_is_told_by_its_key(change: str, key: str) -> None:
    (found,) = of().differences(of(change))
    assert found.key == key
    assert found.saved != found.current


def test_files_of_the_tokenizer_are_told_by_their_hash() -> None:
    (found,) = of().differences(of(tokenizer="89ab"))
    assert (found.key, found.saved) == ("tokenizer", "files with hash 0123")
    assert of().differences(of(template="89ab")) == [], "no corpus has conversations"
    chat = ("packing.method=best_fit", "corpora.web.format=chat")
    (found,) = of(*chat).differences(of(*chat, template="89ab"))
    assert found.current == "a file with hash 89ab"


def test_what_ends_a_turn_is_told_where_there_are_conversations() -> None:
    assert of().differences(of("end_of_turn=//")) == []
    chat = ("packing.method=best_fit", "corpora.web.format=chat")
    (found,) = of(*chat).differences(of(*chat, "end_of_turn=//"))
    assert (found.key, found.current) == ("end_of_turn", "//")
    (found,) = of(*chat).differences(of(*chat, "corpora.web.ignore_fields=[id]"))
    assert found.key == "corpora.web.ignore_fields"


@pytest.mark.parametrize("change", ["weight=1", "pack=true", "base_weight=1"])
def test_what_the_run_s_own_identity_has_is_not_in_it(change: str) -> None:
    one = apply_overrides(RECIPE, ["corpora=[{name: books, path: raw/books, weight: 1}]"])
    other = apply_overrides(one, [f"corpora.books.{change}"])
    assert data_identity(parse_recipe(one), "", "") == data_identity(parse_recipe(other), "", "")
