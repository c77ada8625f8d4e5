"""A bound on the likelihood of images from the losses of a score network at its own noise levels.

For the ancestral sampler on the levels sigma_1 > ... > sigma_L (Kingma et al. 2021, eq. 11-14, variance exploding):

    -log p(x) <= prior + sum_{i < L} (sigma_i^2 / sigma_{i+1}^2 - 1) l_i + dec

l_i is the denoising loss at sigma_i, 1/2 E||sigma s + z||^2. `dec` is taken at sigma_L. All are in nats per image.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import log, log1p


def prior_nats(sigma_begin: float, variance: float, dimensions: int) -> float:
    """Return E KL(N(x, sigma_1^2 I) || N(mean, (sigma_1^2 + variance) I)) for data with that mean squared deviation.

    D / 2 ln(1 + variance / sigma_1^2) is the cost of a start at which data and noise can still be told apart.
    """
    return dimensions / 2 * log1p(variance / sigma_begin**2)


def ladder_nats(sigmas: Sequence[float], losses: Sequence[float]) -> float:
    """Return sum_{i < L} (sigma_i^2 / sigma_{i+1}^2 - 1) l_i. Large steps between levels cost bits."""
    ratios = [(high / low) ** 2 - 1 for high, low in pairwise(sigmas)]
    return sum(ratio * loss for ratio, loss in zip(ratios, losses, strict=False))


def ladder_nats_continuous(sigmas: Sequence[float], losses: Sequence[float]) -> float:
    """Return 2 integral l dln(sigma) by the trapezoidal rule, the limit of many levels.

    It compares networks of any L.
    """
    pairs = zip(pairwise(sigmas), pairwise(losses), strict=True)
    return sum(log(high / low) * (above + below) for (high, low), (above, below) in pairs)
