"""Noise levels: the training loss is minimal at a corner of the space, the likelihood is not."""

from __future__ import annotations

from collections.abc import Callable
from math import e, log, pi
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest

from tests.known_answers.gaussians import D, cifar_like, entropy_bits
from tests.known_answers.searching import Params, searched, space
from trainables.metrics.likelihood import bits_per_dim
from trainables.ncsn.likelihood import ladder_nats, ladder_nats_continuous, prior_nats
from trainables.ncsn.noise_levels import geometric
from tune_app.answer.bounds import at_bounds
from tune_app.config import SweepConfig

pytestmark = [
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Ray's own, when it is imported
]
LAM = cifar_like()
SPACE = """
version: 1
name: sigma
model: ncsn
metric: {name: METRIC}
parameters:
  sigma_begin: {type: float, low: 0.3, high: 50.0, log: true}
  sigma_end: {type: float, low: 0.002, high: 0.1, log: true}
  num_scales: {type: int, low: 10, high: 200, log: true}
search: {trials: 80, seed: SEED}
"""


TABLE = np.linspace(log(0.001), log(50), 2000)
LOSSES = np.array([0.5 * (LAM / (LAM + np.exp(2 * ln_sigma))).sum() for ln_sigma in TABLE])
"""The loss of a perfect network, 1/2 sum lam / (lam + sigma^2), at the noise levels of TABLE."""


def ladder(params: Params) -> tuple[list[float], list[float]]:
    """Return the noise levels, and the loss of a perfect network at each."""
    sigmas = geometric(params["sigma_begin"], params["sigma_end"], params["num_scales"])
    return sigmas, np.interp(np.log(sigmas), TABLE, LOSSES).tolist()


def training_loss(params: Params) -> float:
    return fmean(ladder(params)[1])


def bpd(params: Params, steps: Callable[[Any, Any], float] = ladder_nats) -> float:
    """Return the bound of likelihood.py as a density, for a decoder with the variance left at the last level."""
    sigmas, losses = ladder(params)
    left = 2 * sigmas[-1] ** 2 * losses[-1] / D
    decoded = D / 2 * log(2 * pi * e * left) + D * log(255)
    return bits_per_dim(prior_nats(sigmas[0], LAM.sum() / D, D) + steps(sigmas, losses) + decoded, D)


def config(folder: Path, metric: str, seed: int) -> SweepConfig:
    return space(folder, SPACE.replace("METRIC", metric).replace("SEED", str(seed)))


def point(begin: float, end: float, levels: int) -> Params:
    return {"sigma_begin": begin, "sigma_end": end, "num_scales": levels}


def test_losses_of_a_perfect_network_are_the_known_ones() -> None:
    for sigma, loss in ((1.0, 27), (0.1, 307), (0.01, 1092)):
        assert ladder(point(1.0, sigma, 1))[1] == [
            pytest.approx(loss, rel=0.05)
        ]  # of a spectrum fitted a little otherwise


@pytest.mark.parametrize("seed", [0, 1])
def test_a_search_by_the_training_loss_ends_in_the_corner(folder: Path, seed: int) -> None:
    here = config(folder, "loss", seed)
    found = searched(here, training_loss).best
    assert found["sigma_begin"] > 35
    assert found["sigma_end"] > 0.085
    lines = [one.sentence for one in at_bounds(here, found)]
    assert any(line.startswith("sigma_end") and "upper bound 0.1" in line for line in lines)
    assert bpd(found) > bpd(point(2.5, 0.005, 200)) + 0.7


@pytest.mark.parametrize("seed", [0, 1])
def test_a_search_by_likelihood_ends_inside_with_as_many_levels_as_it_may(folder: Path, seed: int) -> None:
    here = config(folder, "bpd", seed)
    found = searched(here, bpd).best
    assert 1.8 < found["sigma_begin"] < 3.5
    assert 0.0035 < found["sigma_end"] < 0.006
    assert found["num_scales"] > 180
    assert bpd(found) == pytest.approx(4.89, abs=0.02)
    assert [one.parameter for one in at_bounds(here, found)] == ["num_scales"]


def test_the_best_of_a_grid_is_where_the_search_ends() -> None:
    grid = [
        point(begin, end, levels)
        for begin in np.geomspace(0.3, 50, 25).tolist()
        for end in np.geomspace(0.002, 0.1, 25).tolist()
        for levels in (50, 200)
    ]
    best = min(grid, key=bpd)
    assert 2 < best["sigma_begin"] < 3
    assert 0.004 < best["sigma_end"] < 0.006
    assert best["num_scales"] == 200
    corner = min(grid, key=training_loss)
    assert (corner["sigma_begin"], corner["sigma_end"]) == (pytest.approx(50), pytest.approx(0.1))


def test_the_bound_falls_to_the_entropy_and_never_below() -> None:
    entropy = entropy_bits(LAM)
    assert entropy == pytest.approx(4.808, abs=0.01)
    costs = [bpd(point(50.0, 0.001, levels)) for levels in (10, 100, 1000, 10_000)]
    assert costs == sorted(costs, reverse=True)
    assert min(costs) > entropy
    assert costs[-1] == pytest.approx(entropy, abs=0.02)


def test_endless_levels_make_their_number_irrelevant() -> None:
    few, many = (bpd(point(20.0, 0.002, levels), ladder_nats_continuous) for levels in (10, 200))
    assert few == pytest.approx(many, abs=0.02)
    assert bpd(point(20.0, 0.002, 10)) > bpd(point(20.0, 0.002, 200)) + 0.8
    assert many == pytest.approx(entropy_bits(LAM), abs=0.02)
