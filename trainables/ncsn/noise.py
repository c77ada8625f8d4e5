"""Noise levels, and the step size in its natural unit."""

from __future__ import annotations

from collections.abc import Sequence
from math import e, exp, log, log1p


def geometric(begin: float, end: float, levels: int) -> list[float]:
    """`levels` noise levels from `begin` to `end` in equal ratios; both ends exact. One level is `end`."""
    if levels == 1:
        return [end]
    inner = [begin * (end / begin) ** (i / (levels - 1)) for i in range(1, levels - 1)]
    return [begin, *inner, end]


def ratio(sigmas: Sequence[float]) -> float:
    """gamma = (sigma_1 / sigma_L)^(1 / (L - 1)).

    One level has no ratio; e makes `relax` count the factors e by which the chain forgets its start.
    """
    return e if len(sigmas) == 1 else (sigmas[0] / sigmas[-1]) ** (1 / (len(sigmas) - 1))


def eta_from_relax(relax: float, gamma: float, steps: int) -> float:
    """eta = 1 - exp(-relax ln(gamma) / T): above relax 1 a chain of T steps a level keeps up with the annealing."""
    return 1 - exp(-relax * log(gamma) / steps)


def relax_from_eta(eta: float, gamma: float, steps: int) -> float:
    """relax = -T ln(1 - eta) / ln(gamma), for eta below 1."""
    return -steps * log1p(-eta) / log(gamma)


def step_lr_from_eta(eta: float, sigma_end: float) -> float:
    """step_lr = eta sigma_L^2, the raw step at the last level in the convention x += a s + sqrt(2 a) z."""
    return eta * sigma_end**2


def eta_from_step_lr(step_lr: float, sigma_end: float) -> float:
    """eta = step_lr / sigma_L^2."""
    return step_lr / sigma_end**2


def steady_variance_ratio(eta: float, gamma: float, steps: int) -> float:
    """Variance of the annealed chain over that of its target, far above the data's own scale (inf: it falls behind).

    r = b (1 - a^2T) / (1 - gamma^2 a^2T), a = 1 - eta, b = 1 / (1 - eta / 2)
    """
    kept = (1 - eta) ** (2 * steps)
    lag = 1 - gamma**2 * kept
    return (1 - kept) / (1 - eta / 2) / lag if lag > 0 else float("inf")
