"""The arms of the ablation: shares that add up, and proportions that are kept."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from longspan.selection.arms import divide

SHARES = st.floats(0, 1)
CORPORA = st.lists(st.tuples(st.floats(0.01, 1), SHARES), min_size=1, max_size=5)


@given(CORPORA, st.floats(0.01, 0.99))
def test_long_documents_get_the_share_that_is_asked_for(
    corpora: list[tuple[float, float]], share: float
) -> None:
    total = sum(weight for weight, _ in corpora)
    weights = [weight / total for weight, _ in corpora]
    long = [part for _, part in corpora]
    natural = sum(weight * part for weight, part in zip(weights, long, strict=True))
    assume(1e-6 < natural < share)
    parts = divide("long_upsampled", weights, long, share)
    given_to = {(part.corpus, part.documents): part.weight for part in parts}
    assert sum(given_to.values()) == pytest.approx(1)
    for number, (weight, part) in enumerate(zip(weights, long, strict=True)):
        assert given_to.get((number, "long"), 0) == pytest.approx(weight * part * share / natural)
        short = weight * (1 - part) * (1 - share) / (1 - natural)
        assert given_to.get((number, "short"), 0) == pytest.approx(short)


@given(CORPORA)
def test_without_long_documents_short_ones_keep_their_proportions(
    corpora: list[tuple[float, float]],
) -> None:
    total = sum(weight for weight, _ in corpora)
    weights = [weight / total for weight, _ in corpora]
    left = [weight * (1 - part) for weight, (_, part) in zip(weights, corpora, strict=True)]
    assume(sum(left) > 1e-6)
    parts = divide("long_removed", weights, [part for _, part in corpora])
    assert sum(part.weight for part in parts) == pytest.approx(1)
    for part in parts:
        assert part.documents == "short"
        assert part.weight == pytest.approx(left[part.corpus] / sum(left))


def test_corpora_that_the_base_model_has_not_seen_are_left_out() -> None:
    assert [part.corpus for part in divide("base", [0.0, 0.4, 0.6], [1, 1, 1])] == [1, 2]


@pytest.mark.parametrize(
    ("arm", "long", "share", "message"),
    [
        ("long_removed", [1.0, 1.0], None, "all documents are long"),
        ("long_upsampled", [0.0, 0.0], 0.5, "no document is long"),
        ("long_upsampled", [0.5, 0.9], 0.5, "long documents have 70.0% of the tokens already"),
    ],
)
def test_arms_that_cannot_be_had(
    arm: str, long: list[float], share: float | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        divide(arm, [0.5, 0.5], long, share)  # pyrefly: ignore[bad-argument-type]
