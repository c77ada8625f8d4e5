"""Kernel inception distance: unbiased MMD^2 (Binkowski et al. 2018) with jackknife standard errors."""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

import torch
from torch import Tensor

BLOCK = 1024
FEWEST = 3
GROUPS = 40
"""Groups into which the reference is divided for `Estimate.without_group`."""


class Estimate(NamedTuple):
    value: float
    """May be negative: an unbiased estimate of 0 is negative half the time, and clipping would bias it."""
    stderr: float
    """Standard error from the samples and the reference."""
    samples_stderr: float
    """The samples' part of the standard error, which shrinks with more draws. The reference's part does not."""
    without_group: list[float]
    """The value without each group of the reference: GROUPS of them, or fewer if the reference is small."""


class Unit(NamedTuple):
    """Mean and standard deviation (d,) with which features are standardised."""

    mean: Tensor
    sd: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Unit:
        """Return the unit in which `features` (n, d) have mean 0 and standard deviation 1."""
        wide = features.double()
        sd = wide.std(0, correction=0)
        rounding = 1e-6 * wide.abs().amax(0)  # a smaller spread is a rounding error of float32
        return cls(wide.mean(0), torch.where(sd > rounding, sd, 1.0))  # a feature without spread keeps its own unit

    def apply(self, features: Tensor) -> Tensor:
        """Return standardised features."""
        return (features.double() - self.mean) / self.sd


NO_UNIT = Unit(torch.zeros(()), torch.ones(()))
"""Leaves features as they are, as the field does with those of Inception."""


class Reference:
    """Features (n, d) to compare with, standardised with `unit`, or with their own if it is None.

    Their kernel sums are kept.
    """

    def __init__(self, features: Tensor, unit: Unit | None = None) -> None:
        if len(features) < FEWEST:
            raise ValueError(f"a reference needs {FEWEST} images or more, not {len(features)}")
        self.unit = unit or Unit.of(features)
        self.points = self.unit.apply(features)
        self.sums = _own_sums(self.points)  # (n,)
        groups = min(GROUPS, max(FEWEST, len(features) // 2))
        self.group = torch.arange(len(features)) % groups  # (n,)
        self.sizes = torch.bincount(self.group).double()
        members = [self.points[self.group == group] for group in range(groups)]
        self.inside = torch.stack([_own_sums(points).sum() for points in members])
        """Kernel sum over the pairs inside each group."""


def kid(samples: Tensor, reference: Reference) -> Estimate:
    """Return KID between sample features (m, d) and `reference`, with kernel (x.y / d + 1)^3, in float64 and unclipped.

    The standard errors come from a delete-one jackknife over both sets, in which the standardisation stays fixed.
    """
    if len(samples) < FEWEST:
        raise ValueError(f"KID needs {FEWEST} samples or more, not {len(samples)}")
    points = reference.unit.apply(samples)
    own, theirs = _own_sums(points), reference.sums  # (m,), (n,)
    across, back = _sums(points, reference.points)  # (m,), (n,)
    m, n = len(own), len(theirs)
    xx, yy, xy = own.sum(), theirs.sum(), across.sum()
    among = xx / (m * (m - 1))
    value = among + yy / (n * (n - 1)) - 2 * xy / (m * n)
    # without x_i: drop the pairs (i, j) and (j, i), and row i of the cross sum
    less_x = (xx - 2 * own) / ((m - 1) * (m - 2)) + yy / (n * (n - 1)) - 2 * (xy - across) / ((m - 1) * n)
    less_y = among + (yy - 2 * theirs) / ((n - 1) * (n - 2)) - 2 * (xy - back) / (m * (n - 1))
    # without a group: its pairs with all go twice, but those inside it were then taken off twice
    rest = n - reference.sizes
    pairs = yy - 2 * _by_group(theirs, reference) + reference.inside
    less_group = among + pairs / (rest * (rest - 1)) - 2 * (xy - _by_group(back, reference)) / (m * rest)
    of_samples = _jackknife(less_x)
    return Estimate(
        float(value), sqrt(of_samples + _jackknife(less_y)), sqrt(of_samples), [float(one) for one in less_group]
    )


def _jackknife(values: Tensor) -> float:
    """Return the variance from delete-one values: (n - 1) / n sum (value_i - mean)^2."""
    return float((len(values) - 1) * values.var(correction=0))


def _by_group(values: Tensor, reference: Reference) -> Tensor:
    """Return the sum of `values` (n,) over each group of the reference."""
    return torch.zeros(len(reference.sizes), dtype=values.dtype).index_add_(0, reference.group, values)


def _sums(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return sum_j k(x_i, y_j) for each x_i, and sum_i k(x_i, y_j) for each y_j.

    They are computed in blocks, so that memory does not grow with len(x).
    """
    rows, columns = [], torch.zeros(len(y), dtype=torch.float64)
    for block in torch.split(x, BLOCK):
        kernel = _cube(block @ y.T / x.shape[1] + 1)
        rows.append(kernel.sum(1))
        columns += kernel.sum(0)
    return torch.cat(rows), columns


def _own_sums(x: Tensor) -> Tensor:
    """Return sum_{j != i} k(x_i, x_j) for each x_i."""
    return _sums(x, x)[0] - _cube(x.square().sum(1) / x.shape[1] + 1)


def _cube(x: Tensor) -> Tensor:
    return x * x * x
