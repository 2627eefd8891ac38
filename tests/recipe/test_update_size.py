"""A short run has many updates, of whole rows, one at least for each group of workers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longspan.config.load import parse
from longspan.config.overrides import apply_overrides
from longspan.errors import UserError
from longspan.recipe.sft import SftRecipe
from longspan.recipe.update_size import MIN_UPDATES, update_tokens
from tests.recipe.test_derive import plan_of
from tests.recipe.test_sft import GOOD


def test_a_long_run_has_updates_of_the_paper_s_size() -> None:
    assert update_tokens(None, [32_768], 1, 2**22) == 2**22
    assert update_tokens(400_000_000_000, [32_768], 64, 2**22) == 2**22


def test_a_short_run_has_a_hundred_updates_where_rows_allow() -> None:
    assert update_tokens(1_000_000, [1024], 1, 2**22) == 9 * 1024
    assert update_tokens(4096, [32_768], 1, 2**22) == 32_768


def test_every_group_of_workers_has_a_row() -> None:
    assert update_tokens(1_000_000, [1024], 16, 2**22) == 16 * 1024
    assert update_tokens(10_000_000, [32_768], 1000, 2**22) == 2**22, "no more than a large update"


@given(
    st.one_of(st.none(), st.integers(1, 10**12)),
    st.lists(st.integers(2, 3000), min_size=1, max_size=3),
    st.integers(1, 300),
)
def test_updates_are_whole_rows_of_every_length(
    tokens: int | None, lengths: list[int], groups: int
) -> None:
    size = update_tokens(tokens, lengths, groups, 2**22)
    assert all(size % length == 0 for length in lengths)
    assert size > 0
    if tokens and size > max(lengths) * groups and len(set(lengths)) == 1:
        assert tokens // size >= MIN_UPDATES


def test_a_small_trial_has_small_updates() -> None:
    small = ("training.tokens_per_update=null", "optimizer.warmup_updates=null", "workers=1")
    plan = plan_of("llama2-7b-32k", *small, "lengths=1024", "training.tokens=1000000")
    (stage,) = plan.stages
    assert (stage.rows_per_update, stage.updates) == (9, 109)
    assert "100 updates of a shorter run" in plan.reasons["training.tokens_per_update"]


def test_less_than_half_of_one_update_is_refused() -> None:
    own = ("optimizer.warmup_updates=null", "training.tokens=4096", "workers=1")
    with pytest.raises(
        UserError, match="one update of 4,194,304 tokens is more than twice"
    ) as told:
        plan_of("llama2-7b-32k", *own)
    assert "leave it out (null), or give training.tokens at least 4,194,304" in str(told.value)
    with pytest.raises(UserError, match=r"whole rows are 32,768 tokens; give training.tokens at"):
        plan_of("llama2-7b-32k", *own, "training.tokens_per_update=null")


def test_rounding_by_more_than_a_little_is_noted() -> None:
    own = ("optimizer.warmup_updates=null", "training.tokens_per_update=null", "workers=1")

    def noted(tokens: int) -> list[str]:
        notes = plan_of("llama2-7b-32k", *own, f"training.tokens={tokens}").notes
        return [note for note in notes if note.startswith("training.tokens:")]

    (note,) = noted(40_000)
    assert note == (
        "training.tokens: 40,000 is rounded up by 64 % to 65,536, 2 whole updates of 32,768 tokens"
    )
    assert not noted(65_000)


def test_a_small_set_of_examples_is_not_one_update() -> None:
    recipe = parse(SftRecipe, apply_overrides(GOOD, ["training.epochs=2", "lengths=1024"]))
    settled = recipe.settle([40, 10])
    assert settled.training.tokens == 100 * 1024
    assert settled.tokens_per_update == 1024
