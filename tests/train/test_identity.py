"""Identity of a run: typed values, compared exactly, told by recipe key."""

import copy
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longspan.errors import UserError
from longspan.recipe.schema import Packing
from longspan.recipe.training import Optimizer
from longspan.train.checkpoint.checkpoints import CheckpointFacts
from longspan.train.identity import OptimizerIdentity, PackingIdentity, RunIdentity, in_words
from tests.train.identity import VALUES, identity

FACTS = CheckpointFacts(7, 6, "abc", identity())

finite = st.floats(allow_nan=False, allow_infinity=False)


def leaves(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Paths of all plain values in JSON."""
    if isinstance(value, dict | list):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(each, (*path, key))
    else:
        yield path


def changed(path: tuple, value: Any) -> RunIdentity:
    values = copy.deepcopy(VALUES)
    holder = values
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    return RunIdentity.from_json(values)


def another(value: Any) -> Any:
    """The nearest other value."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case float():
            return math.nextafter(value, math.inf)
        case None:
            return 0.0
        case "per_token":
            return "per_sequence"
        case _:
            return f"{value}x"


@pytest.mark.parametrize("path", [path for path in leaves(VALUES) if path != ("schema_version",)])
def test_every_value_is_compared_exactly_and_told_by_its_key(path: tuple) -> None:
    value = VALUES
    for key in path:
        value = value[key]
    (found,) = identity().differences(changed(path, another(value)))
    assert found.saved != found.current, "different values never have the same text"
    if path[0] == "stages":
        assert found.key == "training.tokens, training.tokens_per_update or lengths"
    elif path[0] == "corpora":
        assert found.key.startswith("corpora")
    else:
        assert found.key == ".".join(key for key in path if isinstance(key, str))


def test_no_value_of_the_optimizer_or_of_packing_is_forgotten() -> None:
    assert OptimizerIdentity.model_fields.keys() == Optimizer.model_fields.keys()
    assert PackingIdentity.model_fields.keys() == Packing.model_fields.keys()


@given(finite, finite)
def test_numbers_come_back_as_they_were(rate: float, weight: float) -> None:
    values = copy.deepcopy(VALUES)
    values["optimizer"]["learning_rate"] = rate
    values["corpora"][0]["weight"] = weight
    stored = json.dumps(RunIdentity.from_json(values).to_json())
    found = RunIdentity.from_json(json.loads(stored))
    assert (found.optimizer.learning_rate, found.corpora[0].weight) == (rate, weight)
    assert found.differences(RunIdentity.from_json(values)) == []


@given(finite, finite)
def test_other_numbers_have_another_text(one: float, other: float) -> None:
    assert one == other or in_words(one) != in_words(other)


def test_corpora_of_another_name_are_one_difference() -> None:
    (found,) = identity().differences(changed(("corpora", 1, "name"), "web"))
    assert (found.key, found.saved, found.current) == ("corpora", "books, chat", "books, web")


@pytest.mark.parametrize(
    ("current", "message"),
    [
        (
            replace(FACTS, run=identity("positions.base=500000.5")),
            "positions.base: the checkpoint to resume from has 500,000, this run 500000.5; "
            "undo the change, or choose another name",
        ),
        (
            replace(FACTS, run=identity("optimizer.learning_rate=2.00001e-05", "training.seed=3")),
            "training.seed: the checkpoint to resume from has 0, this run 3; "
            "optimizer.learning_rate: the checkpoint to resume from has 2e-05, this run 2.00001e-05; "
            "undo the changes, or choose another name",
        ),
        (
            replace(FACTS, run=changed(("corpora", 0, "data"), "89ab"), order="xyz"),
            "corpora.books: the checkpoint to resume from has data with fingerprint 0123, this run "
            "data with fingerprint 89ab; undo the change, or choose another name",
        ),
        (
            replace(FACTS, run=changed(("stages", 0, "updates"), 1000)),
            "training.tokens, training.tokens_per_update or lengths: the checkpoint to resume from has "
            "500 updates of 8 rows of 4,096 tokens, then 1 update of 1 row of 32,768 tokens, this run "
            "1,000 updates of 8 rows of 4,096 tokens, then 1 update of 1 row of 32,768 tokens; "
            "undo the change, or choose another name",
        ),
        (
            replace(FACTS, order="xyz"),
            "corpora: the checkpoint to resume from has rows with fingerprint abc, this run rows with "
            "fingerprint xyz; undo the change, or choose another name",
        ),
    ],
)
def test_another_run_is_refused_with_the_values_of_both(
    current: CheckpointFacts, message: str
) -> None:
    with pytest.raises(UserError) as raised:
        FACTS.require(current)
    assert str(raised.value) == message


def test_how_far_a_run_is_does_not_matter() -> None:
    FACTS.require(replace(FACTS, update=0, steps=0, losses=(1.0,), skipped=(3,)))


def test_facts_come_back_as_they_were() -> None:
    facts = replace(FACTS, losses=(6.25, 0.1), skipped=(3, 4))
    assert CheckpointFacts.from_json(json.loads(json.dumps(facts.to_json()))) == facts
