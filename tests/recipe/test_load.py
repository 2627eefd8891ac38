"""A recipe's mistakes are named with their key and the nearest right one."""

from pathlib import Path

import pytest
import yaml

from longspan.config.explain import all_keys
from longspan.config.overrides import apply_overrides
from longspan.corpus.filters import Condition
from longspan.corpus.repository import RepositoryRule
from longspan.errors import UserError
from longspan.recipe.load import load_recipe, parse_recipe
from longspan.recipe.schema import Architecture, Recipe
from longspan.recipe.sources import source_specs

FOLDER = Path(__file__).parents[2] / "jobs" / "recipes"
# Those of other jobs have schemas, and tests, of their own.
RECIPES = [path for path in sorted(FOLDER.glob("*.yaml")) if "self_instruct" not in path.stem]

GOOD = {
    "name": "run",
    "base_model": "models/tiny",
    "target_context": 4096,
    "corpora": [
        {"name": "books", "path": "corpora/books", "weight": 0.75},
        {"name": "code", "path": "corpora/code", "weight": 0.25},
    ],
}


def refused(*overrides: str) -> str:
    with pytest.raises(UserError) as error:
        parse_recipe(apply_overrides(GOOD, overrides))
    return str(error.value)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_shipped_recipes_are_valid(path: Path) -> None:
    assert load_recipe(path).name


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("trainning.seed=1", "trainning: unknown key; the nearest known key is training"),
        (
            "corpora.books={name: b, path: x, weight: 0.75, min_tokens: 9, max_tokens: 8}",
            "corpora.b: max_tokens 8 is below min_tokens 9",
        ),
        (
            "corpora.books.where={year: {mn: 1}}",
            "corpora.books.where: year: 'mn' is unknown: a condition is a value, a list of values",
        ),
        (
            "corpora.books.where.meta.language=en",
            "corpora.books.where: meta: 'language' is unknown: a condition is a value, a list of "
            "values, or a mapping with min, max and not; a field within a field is written "
            "{meta.language: ...}",
        ),
        (
            "corpora.books={name: b, path: x, weight: 0.75, format: text, where: {year: 1}}",
            "corpora.b: where: 'year' is a field of rows, and texts have none",
        ),
        (
            "corpora.books.repository={name: repo}",
            "corpora.books.repository: give either name and path, the fields of rows that are files",
        ),
        ("corpora.books.repository={name: a, path: b, depth: 1}", "repository: give either name"),
        ("corpora.books.repository={header: x}", "repository: give either name and path"),
        (
            "corpora.books={name: b, path: x, weight: 0.75, format: jsonl, repository: {depth: 1}}",
            "corpora.b: repository: depth is for text files, each an object; format is jsonl",
        ),
        ("start_on=redy", "start_on: must be 'everything' or 'ready', but is 'redy'"),
        ("training.sed=1", "training.sed: unknown key; the nearest known key is training.seed"),
        (
            "learning_rate=1e-5",
            "learning_rate: unknown key; the nearest known key is optimizer.learning_rate",
        ),
        (
            "corpora.books.weigth=1",
            "corpora.books.weigth: unknown key; the nearest known key is corpora.books.weight",
        ),
        ("optimizer.learning_rate=fast", "optimizer.learning_rate: must be a valid number"),
        ("training.zero_stage=4", "training.zero_stage: must be 1, 2 or 3, but is 4"),
        (
            "positions.encoding=alibi",
            "positions.encoding: unknown position encoding 'alibi'; give one of none, pi, abf, yarn, xpos_abf",
        ),
        (
            "corpora.books.weight=0.5",
            "corpora: weights add up to 0.75, not 1 (books 0.5, code 0.25)",
        ),
        ("corpora.code.name=books", "corpora: two sources are called 'books'"),
        (
            "workers={min: 8, max: 8, sequence_parallel: 3}",
            "rows of 4,096 tokens cannot be divided among 3 workers",
        ),
        (
            "workers={min: 3, max: 3, sequence_parallel: 2}",
            "3 workers cannot form groups of sequence_parallel 2",
        ),
        (
            "training.tokens_per_update=5000",
            "5,000 is not a whole number of rows of 4,096 tokens; the nearest that is: 4,096",
        ),
        ("lengths=8192", "rows of 8,192 tokens do not fit target_context 4,096"),
        ("lengths=[{length: 1024, until: 0.5}]", "lengths: 'until' must rise and end at 1.0"),
        ("name=a/b", "name: 'a/b': use letters"),
        (
            "corpora.books.path=[]",
            "corpora.books.path: must be one path or more, none of them empty",
        ),
        ("corpora.books.path=[a, '']", "none of them empty, but is ['a', '']"),
        ("corpora.books.path=''", "none of them empty, but is ''"),
        ("corpora.books.name=2024", "corpora.2024.name: must be a valid string, but is 2024"),
        ("corpora.books.name=null", "corpora.0.name: must be a valid string, but is None"),
        (
            "corpora.books.weight=5e-5",
            "corpora.books.weight: 5e-05 is too small: weights are rounded to ten-thousandths; "
            "the smallest is 0.0001",
        ),
        ("optimizer.betas=[1.5, 0.9]", "optimizer.betas.0: must be less than 1, but is 1.5"),
        ("optimizer.betas=[0.9, 1]", "optimizer.betas.1: must be less than 1, but is 1"),
        ("optimizer.betas=[-0.1, 0.9]", "optimizer.betas.0: must be greater than or equal to 0"),
        ("optimizer.betas=[0.9, .nan]", "optimizer.betas.1: must be a finite number"),
        (
            "optimizer.learning_rate=.inf",
            "optimizer.learning_rate: must be a finite number, but is inf",
        ),
        ("optimizer.weight_decay=.inf", "optimizer.weight_decay: must be a finite number"),
        ("positions.base=.inf", "positions.base: must be a finite number, but is inf"),
        ("heldout.fraction=.nan", "heldout.fraction: must be a finite number, but is nan"),
        (
            "positions={encoding: pi, base: 7e6}",
            "positions.base: 7e+06 would be ignored: encoding pi keeps the model's own base",
        ),
        (
            "positions={base: 7e6, encoding: none}",
            "positions.base: 7e+06 would be ignored: encoding none keeps the model's own base",
        ),
        (
            "workers={min: 1, min: 2}",
            "line 1: the key 'min' is given twice in one section, first on line 1; keep one",
        ),
        ("corpora.wiki.weight=1", "no item 'wiki' in the list; there are: books, code"),
        ("training.seed", "write key.path=value"),
        ("name.x=1", "name is a value, not a section"),
    ],
)
def test_a_mistake_names_its_key_and_what_would_be_right(override: str, said: str) -> None:
    assert said in refused(override)


@pytest.mark.parametrize("key", list(Architecture.model_fields))
def test_an_architecture_has_no_empty_part(key: str) -> None:
    stated = load_recipe(RECIPES[0]).model_dump(mode="json")
    with pytest.raises(UserError, match=rf"architecture\.{key}: must be greater than .*but is 0"):
        parse_recipe(apply_overrides(stated, [f"architecture.{key}=0"]))


@pytest.mark.parametrize("encoding", ["abf", "yarn"])
def test_encodings_that_use_a_base_take_one(encoding: str) -> None:
    recipe = parse_recipe(apply_overrides(GOOD, [f"positions={{encoding: {encoding}, base: 7e6}}"]))
    assert recipe.positions.base == 7e6


def test_the_smallest_weight_is_taken() -> None:
    changes = ["corpora.books.weight=0.9999", "corpora.code.weight=1e-4"]
    assert parse_recipe(apply_overrides(GOOD, changes)).corpora[1].weight == 1e-4


def test_all_mistakes_are_told_at_once() -> None:
    assert len(refused("training.sed=1", "optimizer.eps=0", "bad_input=ignore").splitlines()) == 3


def test_a_missing_key_is_named() -> None:
    with pytest.raises(UserError, match="base_model: required, but not set"):
        parse_recipe({key: value for key, value in GOOD.items() if key != "base_model"})


def test_overrides_reach_every_kind_of_value() -> None:
    recipe = parse_recipe(
        apply_overrides(
            GOOD,
            [
                "optimizer.learning_rate=2e-5",
                "corpora.code.min_tokens=32",
                "corpora.0.format=text",
                "workers=2",
                "workers.cpus_per_worker=0.5",
                "lengths=[{length: 1024, until: 0.25}, {length: 4096}]",
                "packing.document_mask=false",
            ],
        )
    )
    assert recipe.optimizer.learning_rate == 2e-5
    assert recipe.corpora[1].min_tokens == 32
    assert recipe.corpora[0].format == "text"
    assert (recipe.workers.min, recipe.workers.max) == (2, 2)
    assert recipe.workers.cpus_per_worker == 0.5
    assert [stage.length for stage in recipe.length_stages] == [1024, 4096]
    assert recipe.packing.document_mask is False


def test_conditions_and_repositories_reach_the_ingest() -> None:
    changes = [
        "corpora.books.where={meta.date: {min: 2020-01-01}, language: [en, de]}",
        "corpora.books.where.stars.min=5",
        "corpora.code.repository={depth: 2, header: '# {path}'}",
    ]
    books, code = source_specs(parse_recipe(apply_overrides(GOOD, changes)))
    assert books.where == (
        Condition("language", one_of=("en", "de")),
        Condition("meta.date", at_least="2020-01-01"),
        Condition("stars", at_least=5),
    )
    assert code.repository == RepositoryRule(depth=2, header="# {path}")


def test_overriding_leaves_the_original_alone() -> None:
    before = yaml.safe_dump(GOOD)
    apply_overrides(GOOD, ["corpora.books.weight=1"])
    assert yaml.safe_dump(GOOD) == before


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "quickstart.yaml").write_text("name: x")
    with pytest.raises(
        UserError, match=r"there is no file .*quikstart.yaml.*the nearest is .*quickstart.yaml"
    ):
        load_recipe(tmp_path / "quikstart.yaml")


@pytest.mark.parametrize("text", ["- a list", "a: [", "just words"])
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match="recipe: "):
        load_recipe(path)


def test_a_key_given_twice_is_refused_with_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("name: x\ntraining:\n  seed: 1\n  tokens: 2\n  'seed': 3\n")
    with pytest.raises(UserError, match=r"line 5: the key 'seed' is given twice.*first on line 3"):
        load_recipe(path)


def test_a_merged_key_may_be_replaced(tmp_path: Path) -> None:
    corpora = [
        "{<<: {format: text, weight: 1}, name: books, path: b, weight: 0.5}",
        "{name: code, path: c, weight: 0.5}",
    ]
    path = tmp_path / "r.yaml"
    path.write_text(
        f"name: x\nbase_model: m\ntarget_context: 4096\ncorpora: [{', '.join(corpora)}]\n"
    )
    books = load_recipe(path).corpora[0]
    assert (books.weight, books.format) == (0.5, "text")


def test_every_key_can_be_listed() -> None:
    keys = all_keys(Recipe)
    assert {
        "training.zero_stage",
        "corpora.weight",
        "lengths.until",
        "workers.sequence_parallel",
    } <= set(keys)


def test_keys_of_the_last_release_are_read_with_a_hint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        yaml.safe_dump(GOOD | {"workers": {"min": 1, "max": 2, "grow_after": 5}}), encoding="utf-8"
    )
    recipe = load_recipe(path, ["training.give_up_after=7", "workers.yield_after=null"])
    assert (recipe.workers.grow_after_s, recipe.workers.yield_after_s) == (5, None)
    assert recipe.training.give_up_timeout_s == 7
    assert sorted(caplog.messages) == [
        f"{old}: renamed to {new}; the former name is accepted in this release only"
        for old, new in (
            ("training.give_up_after", "training.give_up_timeout_s"),
            ("workers.grow_after", "workers.grow_after_s"),
            ("workers.yield_after", "workers.yield_after_s"),
        )
    ]
