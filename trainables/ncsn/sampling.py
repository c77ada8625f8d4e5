"""Annealed Langevin dynamics, in one convention: x += a s + sqrt(2 a) z with a = step_lr (sigma_i / sigma_L)^2."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

from trainables.ncsn import langevin_step
from trainables.ncsn.loss import ScoreNet, column
from trainables.ncsn.noise_levels import geometric, ratio

Watch = Callable[[Tensor], None]


def ignore(_: Tensor) -> None:
    """Do nothing with a state of the chains."""


@dataclass(frozen=True)
class Schedule:
    """Schedule of one chain: `steps` Langevin steps at each of `sigmas`, and one denoising step at the end."""

    sigmas: Sequence[float]
    steps: int
    step_lr: float
    """Raw step at the last level."""
    denoise: bool = False
    spare: int = 0
    """Number of levels, spread evenly, that take one step more."""
    spare_step_lr: float = 0.0
    """Raw step of those levels, as at the last level."""

    @property
    def nfe(self) -> int:
        """Network evaluations of one chain."""
        return len(self.sigmas) * self.steps + self.spare + self.denoise

    def at(self, index: int) -> tuple[int, float]:
        """Return the number of steps at a level, and its raw step as at the last level."""
        levels = len(self.sigmas)
        if (index + 1) * self.spare // levels > index * self.spare // levels:
            return self.steps + 1, self.spare_step_lr
        return self.steps, self.step_lr


@torch.no_grad()
def langevin(
    score: ScoreNet, x: Tensor, schedule: Schedule, generator: torch.Generator, watch: Watch = ignore
) -> Tensor:
    """Run the chains that start at `x` (B, ...) through the schedule and return their ends.

    Call `watch` with the state before each step.
    """
    last = schedule.sigmas[-1]
    for index, level in enumerate(schedule.sigmas):
        sigma = column(x, level)
        steps, step_lr = schedule.at(index)
        step = step_lr * (level / last) ** 2
        for _ in range(steps):
            watch(x)
            z = torch.randn(x.shape, generator=generator, device=x.device)
            x = x + step * score(x, sigma) + (2 * step) ** 0.5 * z
    if schedule.denoise:
        watch(x)
        x = x + last**2 * score(x, column(x, last))
    return x


def plan(
    trained: Sequence[float],
    *,
    nfe: int,
    step_size: float,
    ladder: str = "free",
    step_lr: float = 0.0,
    steps_per_level: int = 0,
    denoise: bool = True,
) -> Schedule:
    """Return the schedule that uses `nfe` network evaluations.

    `ladder` names the levels: `free` has as many geometric levels as there are evaluations, for a network that takes
    any level; `own` has the trained levels, some with one step more, or as many of them as there are evaluations;
    `uniform` gives each trained level the same number of steps and leaves the rest of the budget unused. A `step_lr`
    above 0 overrides `step_size` (relax). `steps_per_level` above 0 overrides ladder and budget, with the trained
    levels.
    """
    denoise = denoise and (nfe > 1 or steps_per_level > 0)
    budget = nfe - denoise
    sigmas = trained if steps_per_level > 0 else _levels(trained, budget, ladder)
    steps = steps_per_level or budget // len(sigmas)
    spare = budget - steps * len(sigmas) if ladder != "uniform" and not steps_per_level else 0

    def raw(count: int) -> float:
        eta = langevin_step.eta_from_relax(step_size, ratio(sigmas), count)
        return step_lr if step_lr > 0 else langevin_step.step_lr_from_eta(eta, sigmas[-1])

    return Schedule(sigmas, steps, raw(steps), denoise, spare, raw(steps + 1) if spare else 0.0)


def _levels(trained: Sequence[float], budget: int, ladder: str) -> Sequence[float]:
    if ladder == "free" and len(trained) > 1:
        return geometric(trained[0], trained[-1], budget)
    if ladder == "own" and len(trained) > budget:
        return _picked(trained, budget)
    return thinned(trained, budget)


def thinned(sigmas: Sequence[float], most: int) -> Sequence[float]:
    """Return at most `most` of the levels: about every k-th for the smallest k that fits, both ends included."""
    if len(sigmas) <= most:
        return sigmas
    return _picked(sigmas, ceil(len(sigmas) / ceil(len(sigmas) / most)))


def _picked(sigmas: Sequence[float], count: int) -> Sequence[float]:
    """Return `count` of the levels, evenly spread, both ends included. A single one is the last."""
    if count == 1:
        return sigmas[-1:]
    stride = (len(sigmas) - 1) / (count - 1)
    return [sigmas[round(i * stride)] for i in range(count)]
