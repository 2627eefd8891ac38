"""Power law of the loss by context, L(c) = (alpha / c)^beta + gamma (arXiv 2309.16039, section 4.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from longspan.evaluate.intervals import FEW_CLUSTERS, bootstrap_tail
from longspan.evaluate.results import Estimate, PowerLaw

BETA = (0.02, 3.0)
"""Exponents that are tried: a curve that a bound fits best is no power law that these lengths can show."""
MAX_ALPHA = 3e6
"""Tokens; the largest alpha that is told from larger ones."""
FEWEST_LENGTHS = 8
"""Fewest lengths of context for three parameters."""
RESAMPLES = 1000
GRID = 64
ZOOMS = 5


@dataclass(frozen=True)
class Parameters:
    """Parameters of one power law, or of several: scalars, or arrays [curves]."""

    alpha: np.ndarray
    """Tokens."""
    beta: np.ndarray
    gamma: np.ndarray
    """Nats."""


def fit_power_law(
    contexts: Sequence[int], sums: np.ndarray, counts: np.ndarray, seed: int
) -> PowerLaw:
    """Fit a power law, with intervals from a bootstrap over documents.

    Args:
        contexts: tokens, rising [contexts].
        sums: losses in nats of each document's targets [documents, contexts].
        counts: numbers of these targets, all more than 0 [documents, contexts].
        seed: of the bootstrap.
    """
    assert sums.shape == counts.shape and sums.shape[1] == len(contexts), (
        f"{sums.shape}, {counts.shape}"
    )
    documents = len(sums)
    if problem := _too_few(len(contexts), documents):
        return _unknown(problem)
    tail = bootstrap_tail(documents)
    value = fit_curves(contexts, (sums.sum(axis=0) / counts.sum(axis=0))[None])
    curves = _resampled(sums, counts, seed)
    resampled = fit_curves(contexts, curves)
    if problem := _not_identifiable(value, resampled, curves, tail):
        return _unknown(problem)
    size = (int(counts[:, -1].sum()), documents)
    return PowerLaw(
        alpha=_estimate(value.alpha, resampled.alpha, tail, size),
        beta=_estimate(value.beta, resampled.beta, tail, size),
        gamma=_estimate(value.gamma, resampled.gamma, tail, size),
        problem=None,
    )


def _too_few(lengths: int, documents: int) -> str | None:
    if lengths < FEWEST_LENGTHS:
        return f"{lengths} lengths of context are fewer than {FEWEST_LENGTHS}"
    if documents < FEW_CLUSTERS:
        return f"{documents} documents are fewer than {FEW_CLUSTERS}, too few for an interval"
    return None


def _not_identifiable(
    value: Parameters, resampled: Parameters, curves: np.ndarray, tail: float
) -> str | None:
    """Return why the curves do not determine the parameters; None if they do."""
    fall = float(np.quantile(curves[:, 0] - curves[:, -1], tail))
    if fall <= 0:
        return (
            "the loss is not decreasing: from the shortest to the longest context, the lower end of its fall is "
            f"{fall:.4f} nats"
        )
    if value.gamma[0] <= 0:
        return "the loss does not level off: gamma is 0, the end of what is tried"
    low, high = np.quantile(resampled.beta, (tail, 1 - tail))
    if low <= BETA[0] * 1.01 or high >= BETA[1] / 1.01:
        return f"the interval of beta, {low:.2f} to {high:.2f}, reaches the end of what is tried"
    if np.quantile(resampled.alpha, 1 - tail) >= MAX_ALPHA:
        return f"the interval of alpha reaches {MAX_ALPHA:,.0f} tokens, the end of what is tried"
    return None


def fit_curves(contexts: Sequence[int], losses: np.ndarray) -> Parameters:
    """Fit curves by least squares of log residuals, with alpha and gamma at least 0 and beta within `BETA`.

    For a fixed beta the law is linear in alpha^beta and gamma, so that the best beta of a grid is near the global
    optimum, without starts. The grid is then refined around it, while the residuals, linearized at the fit so far,
    become those of logs (Gauss-Newton).

    Args:
        contexts: tokens [contexts].
        losses: nats, more than 0 [curves, contexts].
    """
    log_c = np.log(np.asarray(contexts, dtype=np.float64))
    fit = losses
    betas = np.geomspace(*BETA, GRID)[None]
    step = np.log(BETA[1] / BETA[0]) / (GRID - 1)
    beta, scale, gamma = _best_of(log_c, losses, fit, betas)
    zoom = np.linspace(-2, 2, 17)
    for _ in range(ZOOMS):
        fit = scale[:, None] * np.exp(-beta[:, None] * log_c) + gamma[:, None]
        betas = np.clip(beta[:, None] * np.exp(step * zoom), *BETA)
        beta, scale, gamma = _best_of(log_c, losses, fit, betas)
        step /= 4
    with np.errstate(over="ignore"):
        alpha = np.minimum(scale ** (1 / beta), MAX_ALPHA)
    return Parameters(alpha, beta, gamma)


def _best_of(
    log_c: np.ndarray, losses: np.ndarray, fit: np.ndarray, betas: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Best of some betas for each curve, with alpha^beta and gamma [curves].

    log L - log f is linearized in f at `fit`: a least squares problem with target fit (1 + log(L / fit)) and weights
    1 / fit, nonnegative in both unknowns, which is solved in closed form.

    Args:
        log_c: [contexts].
        losses: [curves, contexts].
        fit: f so far, at first the losses themselves [curves, contexts].
        betas: [curves, betas], or [1, betas] for all.
    """
    weight = 1 / fit**2
    target = fit * (1 + np.log(losses / fit))
    x = np.exp(-betas[:, :, None] * log_c)
    xx, x1 = (np.einsum("kbc,kc->kb", each, weight) for each in (x * x, x))
    xy = np.einsum("kbc,kc->kb", x, weight * target)
    one, y = (each.sum(axis=1, keepdims=True) for each in (weight, weight * target))
    determinant = xx * one - x1 * x1
    scale, gamma = (one * xy - x1 * y) / determinant, (xx * y - x1 * xy) / determinant
    # Where an unknown would be negative, it is 0 and the other one fits alone.
    scale, gamma = np.where(gamma < 0, xy / xx, scale), np.maximum(gamma, 0)
    scale, gamma = np.maximum(scale, 0), np.where(scale < 0, y / one, gamma)
    residuals = target[:, None] - scale[..., None] * x - gamma[..., None]
    best = np.einsum("kbc,kc->kb", residuals**2, weight).argmin(axis=1)[:, None]
    each_betas = np.broadcast_to(betas, scale.shape)
    beta, scale, gamma = (
        np.take_along_axis(each, best, axis=1)[:, 0] for each in (each_betas, scale, gamma)
    )
    return beta, scale, gamma


def _resampled(sums: np.ndarray, counts: np.ndarray, seed: int) -> np.ndarray:
    """Mean losses of resampled documents [RESAMPLES, contexts]."""
    documents = len(sums)
    rng = np.random.default_rng(seed)
    times = rng.multinomial(documents, np.full(documents, 1 / documents), RESAMPLES)
    return (times @ sums) / (times @ counts)


def _estimate(
    value: np.ndarray, resampled: np.ndarray, tail: float, size: tuple[int, int]
) -> Estimate:
    low, high = np.quantile(resampled, (tail, 1 - tail))
    return Estimate(
        value=float(value[0]),
        low=float(low),
        high=float(high),
        n=size[0],
        clusters=size[1],
        method="cluster_bootstrap",
    )


def _unknown(problem: str) -> PowerLaw:
    return PowerLaw(alpha=None, beta=None, gamma=None, problem=problem)
