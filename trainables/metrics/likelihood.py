"""Likelihood of 8-bit images under a Gaussian around a prediction, in nats and in bits per dimension."""

from math import log

import torch
from torch import Tensor

HALF_BIN = 1 / 510
"""Half the distance of two neighbouring 8-bit values, images in [0, 1]."""


def discretised_nats(x: Tensor, mean: Tensor, variance: float) -> Tensor:
    """Return -log of the mass of N(mean, variance) on each 8-bit value of x, summed over an image, (B,).

    x, mean: (B, ...), x in [0, 1]. The bins of 0 and 1 are open-ended, so the masses of the 256 values sum to 1.
    """
    sd = max(variance, 1e-12) ** 0.5
    offset = x.double() - mean.double()
    below, above = (offset - HALF_BIN) / sd, (offset + HALF_BIN) / sd
    below = torch.where(x <= HALF_BIN, -torch.inf, below)
    above = torch.where(x >= 1 - HALF_BIN, torch.inf, above)
    # in the upper tail both probabilities are near 1 and their difference is inexact: mirror it to the lower tail
    mirrored = below > 0
    low, high = torch.where(mirrored, -above, below), torch.where(mirrored, -below, above)
    upper = torch.special.log_ndtr(high)
    mass = upper + torch.log1p(-torch.exp(torch.special.log_ndtr(low) - upper).clamp(max=1 - 1e-15))
    nats: Tensor = -mass.flatten(1).sum(1)
    return nats


def bits_per_dim(nats: float, dimensions: int) -> float:
    """Return nats / (D ln 2)."""
    return nats / (dimensions * log(2))
