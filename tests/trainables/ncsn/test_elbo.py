"""The per-level losses of an exact score add up to the known ELBO of a Gaussian under a variance-exploding ladder."""

from __future__ import annotations

from math import e, log, pi

import pytest
import torch
from torch import Tensor

from trainables.ncsn.loss import dsm_loss
from trainables.ncsn.noise_levels import geometric

LAM, D = 0.0614, 48
"""Variance of isotropic Gaussian data, and its dimension here."""


def exact(x: Tensor, sigma: Tensor) -> Tensor:
    return -x / (LAM + sigma**2)


def measured_losses(sigmas: list[float]) -> list[float]:
    """Return the loss per dimension at each level, from 4,000 draws."""
    generator = torch.Generator().manual_seed(0)
    x = LAM**0.5 * torch.randn(4000, 3, 4, 4, generator=generator)
    noise = torch.randn(x.shape, generator=generator)
    return [float(dsm_loss(exact, x, torch.full((1, 1, 1, 1), s), noise).mean()) / D for s in sigmas]


@pytest.mark.parametrize(("levels", "nats"), [(10, 1.9605), (50, 0.29366), (232, 0.07847)])
def test_the_elbo_of_a_gaussian_is_the_known_one(levels: int, nats: float) -> None:
    sigmas = geometric(1.0, 0.01, levels=levels)
    losses = measured_losses(sigmas)
    prior = 0.5 * log(1 + LAM / sigmas[0] ** 2)
    steps = sum((sigmas[i] ** 2 / sigmas[i + 1] ** 2 - 1) * losses[i] for i in range(levels - 1))
    decoder = 0.5 * log(2 * pi * e * 2 * sigmas[-1] ** 2 * losses[-1])
    assert prior + steps + decoder == pytest.approx(nats, abs=0.02)
    assert prior + steps + decoder >= 0.5 * log(2 * pi * e * LAM)  # never below the entropy
