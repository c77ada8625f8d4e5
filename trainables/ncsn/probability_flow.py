"""Samples by the probability-flow ODE with Heun's method (Karras et al. 2022, Algorithm 1 with sigma(t) = t).

Nothing is drawn after the start, and there is no step size to tune.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.ncsn.loss import ScoreNet, column
from trainables.ncsn.sampling import Watch, ignore

RHO = 7.0
"""Exponent of the spacing of noise levels; the paper's choice."""


@dataclass(frozen=True)
class Flow:
    """Steps from each of `sigmas` to the next. The first `corrected` of them are Heun's, the rest Euler's."""

    sigmas: Sequence[float]
    corrected: int
    denoise: bool
    """True if one Euler step to noise level 0 follows, which is a denoising step."""

    @property
    def nfe(self) -> int:
        """Network evaluations of one chain: two for a step of Heun's, one for Euler's."""
        return len(self.sigmas) - 1 + self.corrected + self.denoise


def plan_flow(begin: float, end: float, *, nfe: int, denoise: bool) -> Flow:
    """Return the steps from noise level `begin` to `end` that use exactly `nfe` network evaluations."""
    denoise = denoise or nfe < 1
    corrected, plain = divmod(nfe - denoise, 2)
    return Flow(_levels(begin, end, corrected + plain + 1), corrected, denoise)


@torch.no_grad()
def solve(score: ScoreNet, x: Tensor, flow: Flow, watch: Watch = ignore) -> Tensor:
    """Follow dx / d sigma = -sigma s(x, sigma) from `x` (B, ...) at the first level, and return the ends.

    Call `watch` with the state before each step.
    """
    for index, (sigma, following) in enumerate(zip(flow.sigmas, flow.sigmas[1:], strict=False)):
        watch(x)
        slope = -sigma * score(x, column(x, sigma))
        ahead = x + (following - sigma) * slope
        if index < flow.corrected:
            corrected = -following * score(ahead, column(x, following))
            ahead = x + (following - sigma) * (slope + corrected) / 2
        x = ahead
    if flow.denoise:
        watch(x)
        last = flow.sigmas[-1]
        x = x + last**2 * score(x, column(x, last))
    return x


def _levels(begin: float, end: float, count: int) -> list[float]:
    """Return noise levels from `begin` to `end` by equation 5 of the paper, both ends exact. One level is `begin`."""
    if count == 1:
        return [begin]
    high, low = begin ** (1 / RHO), end ** (1 / RHO)
    inner = [(high + i / (count - 1) * (low - high)) ** RHO for i in range(1, count - 1)]
    return [begin, *inner, end]
