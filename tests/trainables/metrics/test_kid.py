from __future__ import annotations

from importlib import import_module
from itertools import pairwise
from math import sqrt
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

from trainables.contract import DataSpec
from trainables.data import ImageData, load
from trainables.metrics import Reference, features, fingerprint, kid, randconv
from trainables.metrics.kid import NO_UNIT


@pytest.fixture(scope="module", params=[16, 32])
def real(request: pytest.FixtureRequest, shapes_cache: Path) -> ImageData:
    return load(DataSpec("shapes", request.param), shapes_cache)


def points(count: int, seed: int, shift: float = 0.0, dimensions: int = 5) -> Tensor:
    return torch.randn(count, dimensions, generator=torch.Generator().manual_seed(seed)) * 2 + shift


def brute_kid(x: Tensor, y: Tensor) -> float:
    """Return KID by its definition, pair by pair, for standardised x (m, d) and y (n, d)."""

    def kernel(a: Tensor, b: Tensor) -> float:
        return float((a @ b / len(a) + 1) ** 3)

    m, n = len(x), len(y)
    xx = sum(kernel(x[i], x[j]) for i in range(m) for j in range(m) if i != j)
    yy = sum(kernel(y[i], y[j]) for i in range(n) for j in range(n) if i != j)
    xy = sum(kernel(a, b) for a in x for b in y)
    return xx / (m * (m - 1)) + yy / (n * (n - 1)) - 2 * xy / (m * n)


def standardised(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    mean, sd = y.double().mean(0), y.double().std(0, correction=0)
    return (x.double() - mean) / sd, (y.double() - mean) / sd


def without(x: Tensor, index: int) -> Tensor:
    return torch.cat([x[:index], x[index + 1 :]])


def test_kid_is_the_sum_over_pairs() -> None:
    x, y = points(7, seed=0, shift=0.5), points(9, seed=1)
    assert kid(x, Reference(y)).value == pytest.approx(brute_kid(*standardised(x, y)), rel=1e-12)


def test_standard_error_is_the_jackknife_of_leaving_each_point_out() -> None:
    x, y = points(6, seed=0, shift=0.5), points(8, seed=1)
    a, b = standardised(x, y)
    less_x = torch.tensor([brute_kid(without(a, i), b) for i in range(6)], dtype=torch.float64)
    less_y = torch.tensor([brute_kid(a, without(b, j)) for j in range(8)], dtype=torch.float64)
    variance = 5 / 6 * ((less_x - less_x.mean()) ** 2).sum() + 7 / 8 * ((less_y - less_y.mean()) ** 2).sum()
    found = kid(x, Reference(y))
    assert found.stderr == pytest.approx(sqrt(variance), rel=1e-10)
    assert found.samples_stderr == pytest.approx(sqrt(5 / 6 * ((less_x - less_x.mean()) ** 2).sum()), rel=1e-10)


@pytest.mark.parametrize("count", [3, 8, 11])
def test_the_values_without_a_group_are_those_of_the_remaining_reference(count: int) -> None:
    x, y = points(6, seed=0, shift=0.5), points(count, seed=1)
    reference = Reference(y)
    groups = [reference.points[reference.group != group] for group in range(len(reference.sizes))]
    expected = [brute_kid(reference.unit.apply(x), rest) for rest in groups]
    assert kid(x, reference).without_group == pytest.approx(expected, rel=1e-10)
    assert len(groups) >= 3


def test_without_a_unit_it_is_the_kid_of_torch_fidelity() -> None:
    x, y = points(60, seed=0, shift=0.5, dimensions=20), points(60, seed=1, dimensions=20)
    field = kid_features_to_metric(
        x.double(), y.double(), kid_subsets=1, kid_subset_size=60, kid_kernel="poly", verbose=False
    )
    assert kid(x, Reference(y, NO_UNIT)).value == pytest.approx(field[KEY_METRIC_KID_MEAN], rel=1e-6)


def test_kid_is_the_same_whatever_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = points(50, seed=0, shift=0.2), points(70, seed=1)
    whole = kid(x, Reference(y))
    monkeypatch.setattr(import_module("trainables.metrics.kid"), "BLOCK", 16)
    assert kid(x, Reference(y))[:3] == pytest.approx(whole[:3], rel=1e-12)


def test_order_of_samples_and_reference_does_not_matter() -> None:
    x, y = points(40, seed=0, shift=0.2), points(60, seed=1)
    shuffled = kid(x[torch.randperm(40)], Reference(y[torch.randperm(60)]))
    assert shuffled[:3] == pytest.approx(kid(x, Reference(y))[:3], rel=1e-10)


def test_kid_of_identical_sets_is_negative_and_not_clipped() -> None:
    x = points(50, seed=0)
    assert kid(x, Reference(x)).value < 0


def test_standard_error_covers_the_spread_of_repeated_draws() -> None:
    reference = Reference(points(500, seed=0))
    found = [kid(points(100, seed=seed, shift=0.5), reference) for seed in range(1, 41)]
    spread = torch.tensor([estimate.value for estimate in found]).std()
    typical = sum(estimate.stderr for estimate in found) / len(found)
    assert spread < typical < 2 * spread  # it counts the reference's own randomness too


def test_feature_without_spread_in_the_reference_counts_in_its_own_unit() -> None:
    x, y = points(20, seed=0), points(20, seed=1)
    x[:, 2], y[:, 2] = 3.0, 3.0
    assert kid(x, Reference(y)).value == pytest.approx(kid(x, Reference(y)).value)
    x[:, 2] = 4.0
    assert 0 < kid(x, Reference(y)).value < 100


@pytest.mark.parametrize(("samples", "reference"), [(2, 5), (5, 2)])
def test_fewer_than_three_points_are_refused(samples: int, reference: int) -> None:
    with pytest.raises(ValueError, match=r"needs 3 .* or more, not 2"):
        kid(points(samples, seed=0), Reference(points(reference, seed=1)))


def test_two_halves_of_real_images_are_at_distance_zero(real: ImageData) -> None:
    estimate = kid(features(real.held_out[:500]), Reference(features(real.held_out[500:1000])))
    assert abs(estimate.value) < 3 * estimate.stderr
    assert estimate.stderr < 0.03


def test_kid_grows_with_noise_and_with_blur(real: ImageData) -> None:
    reference = Reference(features(real.held_out[:1000]))
    x = real.test[:500].float() / 255
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    noisy = [kid(features((x + sd * noise).clamp(0, 1)), reference) for sd in (0.02, 0.05, 0.1)]
    blurred = [kid(features(blur(x, size)), reference) for size in (3, 5, 7)]
    for smaller, larger in [*pairwise(noisy), *pairwise(blurred)]:
        assert larger.value > smaller.value
    assert noisy[2].value > 3 * noisy[2].stderr
    assert blurred[0].value > 3 * blurred[0].stderr


def blur(x: Tensor, size: int) -> Tensor:
    return F.avg_pool2d(F.pad(x, (size // 2,) * 4, mode="reflect"), size, stride=1)


@pytest.mark.parametrize("resolution", [16, 17, 32, 64])
def test_features_are_332_finite_numbers_an_image(resolution: int) -> None:
    found = features(torch.rand(5, 3, resolution, resolution))
    assert found.shape == (5, randconv.DIMENSIONS)
    assert 300 <= randconv.DIMENSIONS <= 400
    assert found.dtype == torch.float32
    assert found.isfinite().all()


def test_features_do_not_depend_on_the_batch(real: ImageData) -> None:
    images = real.held_out[:120]
    one_by_one = torch.cat([features(image[None]) for image in images])
    torch.testing.assert_close(features(images), one_by_one, rtol=1e-5, atol=1e-6)


def test_bytes_and_fractions_give_the_same_features(real: ImageData) -> None:
    assert torch.equal(features(real.held_out[:10]), features(real.held_out[:10].float() / 255))


def test_features_ignore_autocast_and_the_global_generator() -> None:
    images = torch.rand(4, 3, 16, 16)
    plain = features(images)
    torch.manual_seed(123)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(features(images), plain)


def test_filters_have_mean_zero_and_norm_one() -> None:
    for bank in randconv._filters():
        torch.testing.assert_close(bank.sum((1, 2, 3)), torch.zeros(len(bank)), atol=1e-5, rtol=0)
        torch.testing.assert_close(bank.square().sum((1, 2, 3)), torch.ones(len(bank)))


def test_feature_set_is_the_one_that_published_numbers_used() -> None:
    assert fingerprint().startswith("ff93c9a1d695")


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 2, 16, 16), (2, 3, 15, 16)])
def test_images_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="of 16 pixels or more, not"):
        features(torch.zeros(shape))
