"""Kernel inception distance: unbiased MMD^2 (Binkowski et al. 2018) with an exact jackknife standard error."""

from math import sqrt
from typing import NamedTuple

import torch
from torch import Tensor

BLOCK = 1024
FEWEST = 3


class Estimate(NamedTuple):
    value: float
    """May be negative: an unbiased estimate of 0 is negative half the time, and clipping would bias it."""
    stderr: float


class Reference:
    """Features (n, d) to compare with.

    Both sides are standardised with the mean and standard deviation of these features. Their kernel sums are kept.
    """

    def __init__(self, features: Tensor) -> None:
        if len(features) < FEWEST:
            raise ValueError(f"a reference needs {FEWEST} images or more, not {len(features)}")
        wide = features.double()
        self.mean = wide.mean(0)
        sd = wide.std(0, correction=0)
        rounding = 1e-6 * wide.abs().amax(0)  # a smaller spread is a rounding error of float32
        self.sd = torch.where(sd > rounding, sd, 1.0)  # a feature without spread is left in its own unit
        self.points = self.standardise(features)
        self.sums = _own_sums(self.points)  # (n,)

    def standardise(self, features: Tensor) -> Tensor:
        return (features.double() - self.mean) / self.sd


def kid(samples: Tensor, reference: Reference) -> Estimate:
    """Return KID between sample features (m, d) and `reference`, with kernel (x.y / d + 1)^3, in float64 and unclipped.

    The standard error comes from a delete-one jackknife over both sets, in which the standardisation stays fixed.
    """
    if len(samples) < FEWEST:
        raise ValueError(f"KID needs {FEWEST} samples or more, not {len(samples)}")
    points = reference.standardise(samples)
    own, theirs = _own_sums(points), reference.sums  # (m,), (n,)
    across, back = _sums(points, reference.points), _sums(reference.points, points)  # (m,), (n,)
    m, n = len(own), len(theirs)
    xx, yy, xy = own.sum(), theirs.sum(), across.sum()
    value = xx / (m * (m - 1)) + yy / (n * (n - 1)) - 2 * xy / (m * n)
    # without x_i: drop the pairs (i, j) and (j, i), and row i of the cross sum
    less_x = (xx - 2 * own) / ((m - 1) * (m - 2)) + yy / (n * (n - 1)) - 2 * (xy - across) / ((m - 1) * n)
    less_y = xx / (m * (m - 1)) + (yy - 2 * theirs) / ((n - 1) * (n - 2)) - 2 * (xy - back) / (m * (n - 1))
    return Estimate(float(value), sqrt(_jackknife(less_x) + _jackknife(less_y)))


def _jackknife(values: Tensor) -> float:
    """Return the variance from delete-one values: (n - 1) / n sum (value_i - mean)^2."""
    return float((len(values) - 1) * values.var(correction=0))


def _sums(x: Tensor, y: Tensor) -> Tensor:
    """Return sum_j k(x_i, y_j) for each x_i, computed in blocks so that memory does not grow with len(x)."""
    return torch.cat([_cube(block @ y.T / x.shape[1] + 1).sum(1) for block in torch.split(x, BLOCK)])


def _own_sums(x: Tensor) -> Tensor:
    """Return sum_{j != i} k(x_i, x_j) for each x_i."""
    return _sums(x, x) - _cube(x.square().sum(1) / x.shape[1] + 1)


def _cube(x: Tensor) -> Tensor:
    return x * x * x
