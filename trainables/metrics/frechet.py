"""Frechet distance between Gaussians fitted to features (Heusel et al. 2017, eq. 6)."""

from typing import NamedTuple

import torch
from torch import Tensor


class Moments(NamedTuple):
    """Mean (d,) and covariance (d, d) of features, float64."""

    mean: Tensor
    covariance: Tensor


def moments(features: Tensor) -> Moments:
    """Return the moments of features (n, d) with n >= 2. The covariance divides by n - 1."""
    wide = features.double()
    mean = wide.mean(0)
    centred = wide - mean
    return Moments(mean, centred.T @ centred / (len(wide) - 1))


def frechet_distance(a: Moments, b: Moments) -> float:
    """Return |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^1/2).

    The distance of two finite samples is too large by about c / n, so compare values at equal n only.
    """
    half = _root(a.covariance)
    # the eigenvalues of C_a C_b are those of a symmetric matrix: C_a^1/2 C_b C_a^1/2
    eigenvalues = torch.linalg.eigvalsh(half @ b.covariance @ half)
    rounding = torch.finfo(torch.float64).eps * len(eigenvalues) * eigenvalues.max()
    cross = eigenvalues.where(eigenvalues > rounding, 0.0).sqrt().sum()
    apart = (a.mean - b.mean).square().sum()
    return float(apart + a.covariance.trace() + b.covariance.trace() - 2 * cross)


def _root(matrix: Tensor) -> Tensor:
    """Return the square root of a symmetric positive semidefinite matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    root: Tensor = vectors * values.clamp(min=0).sqrt() @ vectors.T
    return root
