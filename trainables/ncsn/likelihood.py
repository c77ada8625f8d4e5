"""An upper bound on the negative log-likelihood of images, computed from a score network's losses.

It holds for ancestral sampling on levels sigma_1 > ... > sigma_L (Kingma et al. 2021, eq. 11-14, variance exploding):

    -log p(x) <= prior + sum_{i < L} (sigma_i^2 / sigma_{i+1}^2 - 1) l_i + dec

l_i is the denoising loss at sigma_i, 1/2 E||sigma s + z||^2. `dec` is the cost of the image given its noisy version at
sigma_L. All terms are in nats per image.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import log, log1p


def prior_nats(sigma_begin: float, variance: float, dimensions: int) -> float:
    """Return the term `prior` of the bound, D / 2 ln(1 + variance / sigma_1^2).

    It is E KL(N(x, sigma_1^2 I) || N(mean, (sigma_1^2 + variance) I)) for images x with D dimensions. `variance` is
    their mean squared deviation from `mean`. The term is large if sigma_1 is too small to hide the images in noise.
    """
    return dimensions / 2 * log1p(variance / sigma_begin**2)


def ladder_nats(sigmas: Sequence[float], losses: Sequence[float]) -> float:
    """Return the sum of the bound, sum_{i < L} (sigma_i^2 / sigma_{i+1}^2 - 1) l_i.

    Large steps between levels make it larger.
    """
    ratios = [(high / low) ** 2 - 1 for high, low in pairwise(sigmas)]
    return sum(ratio * loss for ratio, loss in zip(ratios, losses, strict=False))


def ladder_nats_continuous(sigmas: Sequence[float], losses: Sequence[float]) -> float:
    """Return 2 integral l(sigma) d ln(sigma), by the trapezoidal rule.

    This is the limit of `ladder_nats` for many levels, so it compares networks with different numbers of levels.
    """
    pairs = zip(pairwise(sigmas), pairwise(losses), strict=True)
    return sum(log(high / low) * (above + below) for (high, low), (above, below) in pairs)
