"""Noise levels of a score network."""

from collections.abc import Sequence
from math import e


def geometric(begin: float, end: float, levels: int) -> list[float]:
    """Return noise levels from `begin` to `end` in equal ratios, both ends exact. A single level is `end`."""
    if levels == 1:
        return [end]
    inner = [begin * (end / begin) ** (i / (levels - 1)) for i in range(1, levels - 1)]
    return [begin, *inner, end]


def ratio(sigmas: Sequence[float]) -> float:
    """Return gamma = (sigma_1 / sigma_L)^(1 / (L - 1)).

    A single level has no ratio. Then gamma is e, so that the influence of a chain's start decays by exp(-relax).
    """
    return e if len(sigmas) == 1 else (sigmas[0] / sigmas[-1]) ** (1 / (len(sigmas) - 1))
