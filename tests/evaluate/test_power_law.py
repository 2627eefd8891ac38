import numpy as np
import pytest

from longspan.evaluate import fit
from longspan.evaluate.fit import fit_curves, fit_power_law
from longspan.evaluate.results import PowerLaw

PAPER_7B = [
    *(5.664, 4.707, 3.977, 3.346, 2.749, 2.476, 2.257, 2.063),
    *(1.857, 1.783, 1.812, 1.749, 1.661, 1.653, 1.639, 1.586),
]
"""Losses at contexts 1, 2, 4, ..., 32,768 (figure 1 of arXiv 2309.16039, read off)."""
TRUE = (25.4, 0.45, 1.56)
CONTEXTS = [1 << power for power in range(4, 14)]


def law(contexts: list[int], alpha: float, beta: float, gamma: float) -> np.ndarray:
    return (alpha / np.array(contexts, dtype=np.float64)) ** beta + gamma


def documents(seed: int, curve: np.ndarray, size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Sums and counts of documents that differ in level by 15 %, with noise at each context."""
    rng = np.random.default_rng(seed)
    means = curve * rng.normal(1, 0.15, size=(size, 1))
    counts = np.full(means.shape, 256)
    return (means + rng.normal(0, 0.06, size=means.shape)) * counts, counts


def test_the_papers_points_give_its_fit():
    found = fit_curves([1 << power for power in range(16)], np.array([PAPER_7B]))
    assert found.alpha[0] == pytest.approx(26.6, abs=0.5)
    assert found.beta[0] == pytest.approx(0.44, abs=0.005)
    assert found.gamma[0] == pytest.approx(1.56, abs=0.005)


@pytest.mark.parametrize("true", [TRUE, (17.9, 0.51, 1.35), (3000.0, 0.1, 0.5), (60.0, 1.5, 2.0)])
def test_an_exact_law_is_recovered(true):
    found = fit_curves(CONTEXTS, law(CONTEXTS, *true)[None])
    parameters = (found.alpha[0], found.beta[0], found.gamma[0])
    assert parameters == pytest.approx(true, rel=2e-3)


def test_the_fit_is_the_global_optimum_of_log_residuals():
    from scipy.optimize import least_squares

    losses = law(CONTEXTS, *TRUE) * np.random.default_rng(0).normal(1, 0.02, len(CONTEXTS))
    found = fit_curves(CONTEXTS, losses[None])

    def residuals(parameters):
        return np.log(law(CONTEXTS, np.exp(parameters[0]), *parameters[1:])) - np.log(losses)

    starts = [(3.0, 0.4, 1.5), (1.0, 1.0, 1.0), (6.0, 0.2, 0.5)]
    bounds = ([-5, 0.02, 0], [15, 3, losses.min()])
    best = min((least_squares(residuals, s, bounds=bounds) for s in starts), key=lambda r: r.cost)
    ours = residuals([np.log(found.alpha[0]), found.beta[0], found.gamma[0]])
    assert (ours @ ours) / 2 <= best.cost * (1 + 1e-6)
    assert found.beta[0] == pytest.approx(best.x[1], rel=2e-3)


def test_a_rising_curve_has_the_best_constant():
    losses = np.linspace(3.0, 3.5, len(CONTEXTS))
    found = fit_curves(CONTEXTS, losses[None])
    assert found.gamma[0] == pytest.approx(np.exp(np.log(losses).mean()), rel=1e-4)
    assert found.alpha[0] == 0


def test_intervals_cover_the_parameters(monkeypatch):
    monkeypatch.setattr(fit, "RESAMPLES", 200)
    curve = law(CONTEXTS, *TRUE)
    found = [fit_power_law(CONTEXTS, *documents(seed, curve), seed) for seed in range(100)]
    assert not [each.problem for each in found if each.problem]
    for name, true in zip(("alpha", "beta", "gamma"), TRUE, strict=True):
        intervals = [getattr(each, name) for each in found]
        assert sum(each.low <= true <= each.high for each in intervals) >= 90, name


def fitted(curve: np.ndarray, contexts: list[int] = CONTEXTS, size: int = 64) -> PowerLaw:
    return fit_power_law(contexts, *documents(0, curve, size), 0)


def test_a_fit_states_its_tokens_and_documents():
    found = fitted(law(CONTEXTS, *TRUE))
    assert found.beta and (found.beta.n, found.beta.clusters) == (64 * 256, 64)
    assert found.beta.low < found.beta.value < found.beta.high
    assert fitted(law(CONTEXTS, *TRUE)) == found


@pytest.mark.parametrize(
    ("curve", "problem"),
    [
        (np.full(10, 3.0), "not decreasing"),
        (np.linspace(3.0, 3.5, 10), "not decreasing"),
        # Falls by as much at every doubling: no asymptote.
        (np.linspace(4.0, 2.0, 10), "does not level off"),
        # Falls at the first doubling only: any large exponent fits.
        (np.array([3.5] + [3.0] * 9), "interval of beta"),
        (law(CONTEXTS, 1e6, 0.1, 0.5), "interval of alpha"),
    ],
    ids=["flat", "rising", "logarithmic", "step", "slow"],
)
def test_curves_that_are_no_power_law_are_not_identifiable(curve, problem):
    found = fitted(curve)
    assert found.problem and problem in found.problem
    assert found.alpha is found.beta is found.gamma is None


def test_an_exactly_flat_loss_is_not_identifiable():
    sums = np.full((16, 10), 64 * np.log(49152))
    found = fit_power_law(CONTEXTS, sums, np.full((16, 10), 64), 0)
    assert found.problem and "not decreasing" in found.problem


def test_seven_lengths_or_seven_documents_are_too_few():
    seven = fitted(law(CONTEXTS[:7], *TRUE), CONTEXTS[:7])
    assert seven.problem and "7 lengths" in seven.problem
    few = fitted(law(CONTEXTS, *TRUE), size=7)
    assert few.problem and "7 documents" in few.problem
