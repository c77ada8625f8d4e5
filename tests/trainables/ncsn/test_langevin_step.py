from __future__ import annotations

from itertools import pairwise
from math import e, inf

import pytest

from tests.trainables.ncsn.langevin import eta_from_step_lr, relax_from_eta, steady_variance_ratio
from trainables.ncsn.langevin_step import eta_from_relax, step_lr_from_eta
from trainables.ncsn.noise_levels import geometric, ratio


@pytest.mark.parametrize(("begin", "end", "levels"), [(1.0, 0.01, 50), (50.0, 0.01, 232), (0.3, 0.007, 2)])
def test_levels_keep_one_ratio_and_their_exact_ends(begin: float, end: float, levels: int) -> None:
    sigmas = geometric(begin, end, levels)
    assert (sigmas[0], sigmas[-1], len(sigmas)) == (begin, end, levels)
    ratios = [high / low for high, low in pairwise(sigmas)]
    assert ratios == pytest.approx([ratio(sigmas)] * (levels - 1))


def test_a_single_level_is_the_smallest_and_still_has_a_step_size() -> None:
    assert geometric(1.0, 0.01, 1) == [0.01]
    assert ratio([0.01]) == e
    assert 0 < eta_from_relax(5, ratio([0.01]), 10) < 1


@pytest.mark.parametrize("relax", [1.5, 5.0, 20.0])
@pytest.mark.parametrize("steps", [1, 5, 100])
def test_relax_to_step_to_relax_returns_where_it_began(relax: float, steps: int) -> None:
    step_lr = step_lr_from_eta(eta_from_relax(relax, 1.0376, steps), 0.01)
    assert relax_from_eta(eta_from_step_lr(step_lr, 0.01), 1.0376, steps) == pytest.approx(relax)


@pytest.mark.parametrize(
    ("published", "relax", "within"), [((6.2e-6, 50, 0.01, 232, 5), 8.7, 0.1), ((2e-5 / 2, 1, 0.01, 50, 100), 112, 0.5)]
)
def test_published_step_sizes_in_relax(
    published: tuple[float, float, float, int, int], relax: float, within: float
) -> None:
    step_lr, begin, end, levels, steps = published
    eta = eta_from_step_lr(step_lr, end)
    assert relax_from_eta(eta, ratio(geometric(begin, end, levels)), steps) == pytest.approx(relax, abs=within)


@pytest.mark.parametrize(
    ("relax", "steps", "expected"), [(2, 1, 2.0), (2, 100, 1.930), (5.4, 1, 1.303), (5.4, 100, 1.187), (0.9, 5, inf)]
)
def test_steady_state_variance_ratio(relax: float, steps: int, expected: float) -> None:
    gamma = 1.0376
    assert steady_variance_ratio(eta_from_relax(relax, gamma, steps), gamma, steps) == pytest.approx(expected, abs=2e-3)
