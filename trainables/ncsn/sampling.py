"""Annealed Langevin dynamics, in one convention: x += a s + sqrt(2 a) z with a = step_lr (sigma_i / sigma_L)^2."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

from trainables.ncsn import langevin_step
from trainables.ncsn.loss import ScoreNet
from trainables.ncsn.noise_levels import ratio


@dataclass(frozen=True)
class Schedule:
    """Schedule of one chain: `steps` Langevin steps at each of `sigmas`, and one denoising step at the end."""

    sigmas: Sequence[float]
    steps: int
    step_lr: float
    """Raw step at the last level."""
    denoise: bool = False

    @property
    def nfe(self) -> int:
        """Network evaluations of one chain."""
        return len(self.sigmas) * self.steps + self.denoise


@torch.no_grad()
def langevin(score: ScoreNet, x: Tensor, schedule: Schedule, generator: torch.Generator) -> Tensor:
    """Run the chains that start at `x` (B, ...) through the schedule and return their ends."""
    last = schedule.sigmas[-1]
    for level in schedule.sigmas:
        sigma = _column(x, level)
        step = schedule.step_lr * (level / last) ** 2
        for _ in range(schedule.steps):
            z = torch.randn(x.shape, generator=generator, device=x.device)
            x = x + step * score(x, sigma) + (2 * step) ** 0.5 * z
    if schedule.denoise:
        x = x + last**2 * score(x, _column(x, last))
    return x


def plan(
    trained: Sequence[float],
    *,
    nfe: int,
    step_size: float,
    step_lr: float = 0.0,
    steps_per_level: int = 0,
    denoise: bool = True,
) -> Schedule:
    """Return the schedule that fits into `nfe` network evaluations. If there are too many levels, thin them evenly.

    A `step_lr` above 0 overrides `step_size` (relax), and `steps_per_level` above 0 overrides the budget.
    """
    denoise = denoise and (nfe > 1 or steps_per_level > 0)
    budget = nfe - denoise
    sigmas = trained if steps_per_level > 0 else thinned(trained, budget)
    steps = steps_per_level or budget // len(sigmas)
    if step_lr <= 0:
        eta = langevin_step.eta_from_relax(step_size, ratio(sigmas), steps)
        step_lr = langevin_step.step_lr_from_eta(eta, sigmas[-1])
    return Schedule(sigmas, steps, step_lr, denoise)


def thinned(sigmas: Sequence[float], most: int) -> Sequence[float]:
    """Return at most `most` of the levels: about every k-th for the smallest k that fits, both ends included."""
    if len(sigmas) <= most:
        return sigmas
    kept = ceil(len(sigmas) / ceil(len(sigmas) / most))
    if kept == 1:
        return sigmas[-1:]
    stride = (len(sigmas) - 1) / (kept - 1)
    return [sigmas[round(i * stride)] for i in range(kept)]


def _column(x: Tensor, level: float) -> Tensor:
    return x.new_full((len(x),) + (1,) * (x.ndim - 1), level)  # (B, 1, ...)
