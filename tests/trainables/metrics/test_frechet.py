"""Frechet distances between Gaussians with a known distance, and between samples of them."""

from __future__ import annotations

from math import isfinite

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import Tensor

from trainables.metrics.frechet import Moments, frechet_distance, moments


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draws(count: int, dimensions: int, seed: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(count, dimensions, generator=seeded(seed))


def covariance(dimensions: int, seed: int, rank: int | None = None) -> Tensor:
    root = torch.randn(dimensions, rank or dimensions, generator=seeded(seed), dtype=torch.float64)
    return root @ root.T / dimensions


def by_definition(a: Moments, b: Moments) -> float:
    """Return |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^1/2), with scipy's matrix root."""
    root = np.real(sqrtm((a.covariance @ b.covariance).numpy()))
    apart = float((a.mean - b.mean).square().sum())
    return apart + float(a.covariance.trace() + b.covariance.trace()) - 2 * float(np.trace(root))


def test_moments_are_those_of_numpy() -> None:
    x = draws(50, 7, seed=0, scale=3)
    found = moments(x)
    np.testing.assert_allclose(found.mean, x.double().numpy().mean(0))
    np.testing.assert_allclose(found.covariance, np.cov(x.double().numpy(), rowvar=False))
    assert found.mean.dtype == found.covariance.dtype == torch.float64


def test_diagonal_gaussians_are_apart_by_their_deviations() -> None:
    sds = [torch.tensor([1.0, 2.0, 0.0, 5.0], dtype=torch.float64), torch.tensor([3.0, 2.0, 1.0, 4.5]).double()]
    means = [torch.tensor([0.0, 1.0, 2.0, 3.0]).double(), torch.tensor([1.0, 1.0, 0.0, 3.0]).double()]
    a, b = (Moments(mean, torch.diag(sd**2)) for mean, sd in zip(means, sds, strict=True))
    assert frechet_distance(a, b) == pytest.approx(1 + 4 + 4 + 0 + 1 + 0.25)


@pytest.mark.parametrize("dimensions", [1, 5, 60])
def test_a_gaussian_is_at_no_distance_from_itself(dimensions: int) -> None:
    a = Moments(torch.ones(dimensions).double(), covariance(dimensions, seed=1))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


def test_a_shift_of_the_mean_alone_is_its_square() -> None:
    shared = covariance(6, seed=2)
    a, b = Moments(torch.zeros(6).double(), shared), Moments(torch.full((6,), 0.5).double(), shared)
    assert frechet_distance(a, b) == pytest.approx(1.5)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_covariances_that_do_not_commute_agree_with_the_matrix_root(seed: int) -> None:
    a = Moments(draws(1, 12, seed)[0].double(), covariance(12, seed=10 + seed))
    b = Moments(draws(1, 12, 50 + seed)[0].double(), covariance(12, seed=20 + seed))
    assert (a.covariance @ b.covariance - b.covariance @ a.covariance).abs().max() > 0.1
    assert frechet_distance(a, b) == pytest.approx(by_definition(a, b), rel=1e-8)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9)


def test_distance_does_not_hang_on_the_axes() -> None:
    turn = torch.linalg.qr(torch.randn(8, 8, generator=seeded(3), dtype=torch.float64))[0]
    x, y = draws(40, 8, seed=0).double(), 2 * draws(40, 8, seed=1).double() + 1
    plain = frechet_distance(moments(x), moments(y))
    assert frechet_distance(moments(x @ turn), moments(y @ turn)) == pytest.approx(plain, rel=1e-9)
    assert frechet_distance(moments(3 * x), moments(3 * y)) == pytest.approx(9 * plain, rel=1e-9)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
@pytest.mark.parametrize(("first", "second"), [(2, 2), (20, 20), (20, 500), (500, 20)])
def test_fewer_samples_than_dimensions_give_a_number(first: int, second: int, scale: float) -> None:
    x, y = moments(draws(first, 100, 0, scale)), moments(draws(second, 100, 1, scale))
    for a, b in ((x, y), (y, x), (x, x)):
        found = frechet_distance(a, b)
        assert isfinite(found)
        assert found >= -1e-6 * float(a.covariance.trace() + b.covariance.trace())  # sqrt of rounding
    assert frechet_distance(x, y) == pytest.approx(frechet_distance(y, x), rel=1e-5)


def test_of_two_lines_through_the_origin_no_overlap_counts() -> None:
    """Both covariances have rank one and orthogonal ranges, so (C_a C_b)^1/2 is 0."""
    a = Moments(torch.zeros(2).double(), torch.diag(torch.tensor([4.0, 0.0]).double()))
    b = Moments(torch.zeros(2).double(), torch.diag(torch.tensor([0.0, 9.0]).double()))
    assert frechet_distance(a, b) == pytest.approx(13)


def test_order_of_samples_changes_nothing() -> None:
    x, y = draws(300, 20, seed=0), draws(200, 20, seed=1) * 1.5
    plain = frechet_distance(moments(x), moments(y))
    order = torch.randperm(300, generator=seeded(2))
    assert frechet_distance(moments(x[order]), moments(y.flip(0))) == pytest.approx(plain, rel=1e-10)


def test_far_from_the_origin_nothing_drowns() -> None:
    x, y = draws(300, 10, seed=0).double(), draws(300, 10, seed=1).double() + 0.3
    plain = frechet_distance(moments(x), moments(y))
    assert frechet_distance(moments(x + 1000), moments(y + 1000)) == pytest.approx(plain, rel=1e-6)


def test_two_samples_of_one_gaussian_are_apart_by_the_inverse_of_their_number() -> None:
    def mean_distance(count: int, repeats: int = 12) -> float:
        pairs = [(draws(count, 16, 2 * i), draws(count, 16, 2 * i + 1)) for i in range(repeats)]
        return sum(frechet_distance(moments(x), moments(y)) for x, y in pairs) / repeats

    small, middle, large = (mean_distance(count) for count in (250, 500, 1000))
    assert small / middle == pytest.approx(2, rel=0.15)
    assert middle / large == pytest.approx(2, rel=0.15)
    # means: 2 d / n; covariances: |C_a - C_b|^2 / 4 around the identity, d (d + 1) / 2 n
    assert large == pytest.approx((2 * 16 + 16 * 17 / 2) / 1000, rel=0.1)
