"""Formulas and a sampler for tests of the Langevin step. The convention is that of trainables/ncsn/langevin_step.py."""

from __future__ import annotations

from collections.abc import Sequence
from math import log, log1p

import torch
from torch import Tensor

from trainables.ncsn import langevin_step
from trainables.ncsn.loss import ScoreNet
from trainables.ncsn.noise_levels import ratio
from trainables.ncsn.sampling import Schedule, langevin


def anneal(
    score: ScoreNet,
    *,
    shape: Sequence[int],
    sigmas: Sequence[float],
    step_size: float,
    steps: int,
    generator: torch.Generator,
) -> Tensor:
    """Return samples of `shape` from chains that start in N(0, sigma_1^2 I). `step_size` is relax."""
    start = sigmas[0] * torch.randn(*shape, generator=generator, device=generator.device)
    eta = langevin_step.eta_from_relax(step_size, ratio(sigmas), steps)
    schedule = Schedule(sigmas, steps, langevin_step.step_lr_from_eta(eta, sigmas[-1]))
    return langevin(score, start, schedule, generator)


def relax_from_eta(eta: float, gamma: float, steps: int) -> float:
    """Return relax = -T ln(1 - eta) / ln(gamma), for eta below 1."""
    return -steps * log1p(-eta) / log(gamma)


def eta_from_step_lr(step_lr: float, sigma_end: float) -> float:
    """Return eta = step_lr / sigma_L^2."""
    return step_lr / sigma_end**2


def steady_variance_ratio(eta: float, gamma: float, steps: int) -> float:
    """Return the variance of the annealed chain over that of its target, far above the data's own scale.

    r = b (1 - a^2T) / (1 - gamma^2 a^2T) with a = 1 - eta, b = 1 / (1 - eta / 2). inf: the chain falls behind.
    """
    decay = (1 - eta) ** (2 * steps)
    lag = 1 - gamma**2 * decay
    return (1 - decay) / (1 - eta / 2) / lag if lag > 0 else float("inf")
