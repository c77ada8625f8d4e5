"""Likelihoods against closed forms: the mass of a bin, the ELBO of a Gaussian, the formula of sigma-VAE."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import e, erfc, isfinite, log, pi, sqrt

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from tests.trainables.tiny import tiny_spec
from trainables.beta_vae.task import BetaVae
from trainables.metrics.likelihood import HALF_BIN, bits_per_dim, discretised_nats
from trainables.ncsn.likelihood import ladder_nats, ladder_nats_continuous, prior_nats
from trainables.ncsn.noise_levels import geometric
from trainables.ncsn.task import Ncsn

VALUES = torch.arange(256, dtype=torch.float64)[:, None] / 255
LAM, D = 0.0614, 3072
ENTROPY = 0.5 * log(2 * pi * e * LAM)
"""Nats a dimension of an isotropic Gaussian of that variance."""


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def nats_of_all_values(mean: float, variance: float) -> Tensor:
    return discretised_nats(VALUES, torch.full_like(VALUES, mean), variance)  # (256,)


# masses of bins


@pytest.mark.parametrize("variance", [0.0, 1e-12, 1e-6, 1e-4, 0.01, 1.0, 1e4])
@pytest.mark.parametrize("mean", [-3.0, -0.002, 0.0, 1 / 510, 0.3, 0.5, 1.0, 1.7])
def test_masses_of_the_256_values_sum_to_one(mean: float, variance: float) -> None:
    assert float((-nats_of_all_values(mean, variance)).exp().sum()) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("variance", [0.0, 1e-10, 1e-4])
@pytest.mark.parametrize("mean", [-50.0, 0.5, 50.0])
def test_far_tails_are_finite_and_grow_with_the_distance(mean: float, variance: float) -> None:
    nats = nats_of_all_values(mean, variance)
    assert nats.isfinite().all()
    assert (nats >= 0).all()
    centre = min(max(mean, 0.0), 1.0)
    order = (VALUES.flatten() - centre).abs().argsort(stable=True)
    assert (nats[order].diff() >= -1e-9).all()


def mass(k: int, mean: float, sd: float) -> float:
    """Return the mass of the value k / 255, from the erfc tail that keeps its precision."""
    low = -np.inf if k == 0 else ((k - 0.5) / 255 - mean) / sd
    high = np.inf if k == 255 else ((k + 0.5) / 255 - mean) / sd
    if low > 0:
        low, high = -high, -low
    return 0.5 * (erfc(-high / sqrt(2)) - erfc(-low / sqrt(2)))


@pytest.mark.parametrize("sd", [0.002, 0.02, 0.3, 2.0])
@pytest.mark.parametrize("mean", [-0.1, 0.0, 0.4, 0.5, 1.05])
def test_masses_are_those_of_the_definition(mean: float, sd: float) -> None:
    nats = nats_of_all_values(mean, sd**2)
    known = {k: found for k in range(256) if (found := mass(k, mean, sd)) > 1e-280}
    assert known
    for k, found in known.items():
        assert float(nats[k]) == pytest.approx(-log(found), rel=1e-9, abs=1e-12)


def test_nats_are_summed_over_an_image_of_single_precision() -> None:
    generator = seeded(0)
    x = torch.randint(256, (4, 3, 5, 5), generator=generator).float() / 255
    mean = (x + 0.05 * torch.randn(x.shape, generator=generator)).double()
    byte = (x * 255).round().int()
    pairs = [zip(a.flatten().tolist(), b.flatten().tolist(), strict=True) for a, b in zip(byte, mean, strict=True)]
    expected = [-sum(log(mass(k, m, 0.05)) for k, m in image) for image in pairs]
    assert discretised_nats(x, mean.float(), 0.0025).tolist() == pytest.approx(expected, rel=1e-5)


def test_no_gaussian_describes_uniform_bytes_in_less_than_eight_bits() -> None:
    assert bits_per_dim(D * log(256), D) == 8
    costs = [
        bits_per_dim(float(nats_of_all_values(mean, variance).mean()), 1)
        for mean in (0.0, 0.5, 0.7)
        for variance in (1e-4, 0.01, 1 / 12, 0.2, 1.0)
    ]
    assert min(costs) > 8
    assert min(costs) < 8.3


def test_a_narrow_bin_costs_its_density() -> None:
    x = torch.full((1, 1), 100 / 255, dtype=torch.float64)
    density = -float(torch.distributions.Normal(0.5, 0.5).log_prob(x))
    assert float(discretised_nats(x, torch.full_like(x, 0.5), 0.25)) == pytest.approx(density + log(255), abs=1e-5)
    assert HALF_BIN == 0.5 / 255


# the ladder of a Gaussian


def optimal(sigma: float) -> float:
    """Return l* = D/2 lam / (lam + sigma^2), the loss of the exact score."""
    return D / 2 * LAM / (LAM + sigma**2)


def decoded(sigma: float) -> float:
    """Return the exact continuous decoder: x given x~ is a Gaussian of variance lam sigma^2 / (lam + sigma^2)."""
    return D / 2 * log(2 * pi * e * LAM * sigma**2 / (LAM + sigma**2))


def terms(sigmas: Sequence[float]) -> tuple[float, list[float], float]:
    """Return prior, steps and decoder in nats."""
    steps = [ladder_nats([high, low], [optimal(high), optimal(low)]) for high, low in pairwise(sigmas)]
    return prior_nats(sigmas[0], LAM, D), steps, decoded(sigmas[-1])


@pytest.mark.parametrize(("levels", "nats"), [(10, 1.9605), (50, 0.29366), (232, 0.07847), (2000, 0.03002)])
def test_elbo_of_the_gaussian_is_the_known_one(levels: int, nats: float) -> None:
    sigmas = geometric(1.0, 0.01, levels)
    prior, steps, decoder = terms(sigmas)
    total = prior + ladder_nats(sigmas, [optimal(s) for s in sigmas]) + decoder
    assert total / D == pytest.approx(nats, rel=1e-4, abs=5e-6)
    assert total == pytest.approx(prior + sum(steps) + decoder)
    assert total / D > ENTROPY
    assert min(prior, *steps) >= 0


def test_elbo_falls_to_the_entropy_as_levels_are_added() -> None:
    gaps = []
    for levels in (100, 1000, 10_000):
        prior, steps, decoder = terms(geometric(1.0, 0.01, levels))
        gaps.append((prior + sum(steps) + decoder) / D - ENTROPY)
    assert gaps[0] / gaps[1] == pytest.approx(10, rel=0.2)  # an error of first order in the step
    assert gaps[1] / gaps[2] == pytest.approx(10, rel=0.02)


@pytest.mark.parametrize(("begin", "end"), [(1.0, 0.01), (50.0, 0.01), (0.3, 0.1)])
def test_endless_levels_give_the_entropy_whatever_the_range(begin: float, end: float) -> None:
    sigmas = geometric(begin, end, 2000)
    total = prior_nats(begin, LAM, D) + ladder_nats_continuous(sigmas, [optimal(s) for s in sigmas]) + decoded(end)
    assert total / D == pytest.approx(ENTROPY, abs=1e-5)


def test_ten_levels_are_nearly_endless_to_the_trapezoid_and_far_from_it_to_the_sum() -> None:
    few, many = geometric(1.0, 0.01, 10), geometric(1.0, 0.01, 1000)
    ends = [ladder_nats_continuous(sigmas, [optimal(s) for s in sigmas]) for sigmas in (few, many)]
    assert bits_per_dim(abs(ends[0] - ends[1]), D) < 0.02
    sums = [ladder_nats(sigmas, [optimal(s) for s in sigmas]) for sigmas in (few, many)]
    assert bits_per_dim(sums[0] - ends[1], D) > 1
    assert bits_per_dim(sums[1] - ends[1], D) < 0.02


def test_a_step_costs_its_ratio_times_the_loss_above_it() -> None:
    assert ladder_nats([4.0, 2.0, 1.0], [5.0, 7.0, 1000.0]) == pytest.approx(3 * 5 + 3 * 7)
    assert ladder_nats_continuous([4.0, 2.0, 1.0], [5.0, 7.0, 11.0]) == pytest.approx(log(2) * (5 + 7 + 7 + 11))
    assert ladder_nats([0.01], [5.0]) == ladder_nats_continuous([0.01], [5.0]) == 0


@pytest.mark.parametrize("sigma", [0.05, 1.0, 50.0])
def test_prior_is_the_mean_divergence_of_blurred_images_from_the_start_of_the_chain(sigma: float) -> None:
    x = torch.rand(200, 12, generator=seeded(0), dtype=torch.float64)
    mean, variance = float(x.mean()), float(x.var(correction=0))
    start = torch.distributions.Normal(mean, sqrt(sigma**2 + variance))
    divergence = torch.distributions.kl_divergence(torch.distributions.Normal(x, sigma), start).sum(1).mean()
    assert prior_nats(sigma, variance, 12) == pytest.approx(float(divergence), rel=1e-9)


def test_prior_of_known_values() -> None:
    assert prior_nats(1.0, 1.0, 2) == pytest.approx(log(2))
    assert bits_per_dim(prior_nats(1.0, LAM, D), D) == pytest.approx(0.043, abs=0.001)
    assert prior_nats(1.0, 0.0, D) == 0


# NCSN's judgement of Gaussian images


class ExactScore(nn.Module):
    """The score -(x - 1/2) / (lam + sigma^2) of pixels with variances `lam` (C, H, W) around 1/2."""

    def __init__(self, lam: Tensor) -> None:
        super().__init__()
        self.lam = lam

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        return -(x - 0.5) / (self.lam + sigma**2)


def gaussian_images(count: int, lam: Tensor, seed: int) -> Tensor:
    """Return Gaussian images, rounded to 8 bits and clipped."""
    x = 0.5 + lam.sqrt() * torch.randn(count, *lam.shape, generator=seeded(seed))
    return (x.clamp(0, 1) * 255).round() / 255


def entropy_bits(lam: Tensor) -> float:
    """Return the entropy of the bytes that `gaussian_images` draws, in bits per dimension."""
    cuts = np.concatenate([[-np.inf], (np.arange(255) + 0.5) / 255, [np.inf]])
    masses = [np.diff(stats.norm.cdf(cuts, 0.5, sqrt(value))) for value in lam.unique().tolist()]
    shares = [float((lam == value).float().mean()) for value in lam.unique().tolist()]
    return sum(share * float(stats.entropy(m, base=2)) for share, m in zip(shares, masses, strict=True))


def ncsn(lam: Tensor, **params: float) -> Ncsn:
    variance = float(lam.mean())
    return Ncsn(tiny_spec("ncsn", **params).params, mean=0.5, variance=variance, shape=tuple(lam.shape))


def one_scale() -> Tensor:
    return torch.full((3, 4, 4), 0.02)


def two_scales() -> Tensor:
    lam = torch.full((3, 4, 4), 0.002)
    lam[:, :2] = 0.03
    return lam


def judged(lam: Tensor, *, draws: int = 6, count: int = 1024, **params: float) -> dict[str, tuple[float, float]]:
    """Return mean and standard error of each metric of the exact score over several data sets."""
    model, net = ncsn(lam, **params), ExactScore(lam)
    found = [
        model.judge(net, gaussian_images(count, lam, seed), None, seeded(100 + seed)).metrics for seed in range(draws)
    ]
    table = {name: np.array([metrics[name] for metrics in found]) for name in found[0]}
    return {name: (float(row.mean()), float(row.std(ddof=1) / sqrt(draws))) for name, row in table.items()}


@pytest.mark.parametrize("lam", [one_scale(), two_scales()], ids=["one scale", "two scales"])
@pytest.mark.parametrize(("begin", "levels"), [(1.0, 10), (1.0, 100), (10.0, 1000)])
def test_no_judgement_of_the_exact_score_is_below_the_entropy(lam: Tensor, begin: float, levels: int) -> None:
    for name, (value, stderr) in judged(lam, sigma_begin=begin, num_scales=levels).items():
        if name.startswith("bpd"):
            assert value > entropy_bits(lam) - 3 * stderr, name
            assert stderr < 0.02


def test_endless_levels_of_the_exact_score_reach_the_entropy() -> None:
    found = judged(one_scale(), sigma_begin=1.0, sigma_end=0.01, num_scales=100)
    assert found["bpd_ct"][0] == pytest.approx(entropy_bits(one_scale()), abs=0.03)


@pytest.mark.parametrize("lam", [one_scale(), two_scales()], ids=["one scale", "two scales"])
@pytest.mark.parametrize("levels", [1, 2, 10, 100, 1000])
def test_judgement_of_the_exact_score_is_the_closed_form(lam: Tensor, levels: int) -> None:
    """There are 1,000 levels, more than the images can be spread over, so the levels in between are interpolated."""
    sigmas, D = geometric(1.0, 0.02, levels), lam.numel()
    losses = [0.5 * float((lam / (lam + s**2)).sum()) for s in sigmas]
    left = 2 * sigmas[-1] ** 2 * losses[-1] / D  # what the decoder does not know of a pixel
    ends = prior_nats(sigmas[0], float(lam.mean()), D) + D / 2 * log(2 * pi * e * left) + D * log(255)
    found = judged(lam, sigma_begin=1.0, sigma_end=0.02, num_scales=levels)
    expected = {
        "loss": sum(losses) / levels,
        "bpd": bits_per_dim(ends + ladder_nats(sigmas, losses), D),
        "bpd_ct": bits_per_dim(ends + ladder_nats_continuous(sigmas, losses), D),
    }
    for name, value in expected.items():
        assert found[name][0] == pytest.approx(value, abs=0.012 + 4 * found[name][1]), name


def test_a_wrong_score_costs_bits() -> None:
    lam = one_scale()
    model, images = ncsn(lam, num_scales=100), gaussian_images(1024, lam, 0)
    right, wrong = (model.judge(ExactScore(lam * factor), images, None, seeded(0)).metrics for factor in (1.0, 2.0))
    assert wrong["bpd"] > right["bpd"] + 0.01
    assert wrong["bpd_ct"] > right["bpd_ct"] + 0.01


def test_levels_shown_are_the_models_own_from_the_largest_down() -> None:
    lam = one_scale()
    for levels in (1, 5, 100):
        model = ncsn(lam, sigma_begin=1.0, sigma_end=0.01, num_scales=levels)
        shown = model.judge(ExactScore(lam), gaussian_images(64, lam, 0), None, seeded(0)).levels
        assert len(shown) == min(levels, len(shown)) <= 16
        sigmas = [row["sigma"] for row in shown]
        assert sigmas == sorted(set(sigmas), reverse=True)
        assert set(sigmas) <= set(model.sigmas)
        for row in shown:
            assert row["loss"] == pytest.approx(float((lam / (lam + row["sigma"] ** 2)).sum()) / 2, rel=0.5)


# Beta-VAE's judgement


class FixedVae(nn.Module):
    """A VAE whose code unit 0 tells the half of an image; 1 and 2 carry nothing. Every image is decoded to `grey`."""

    latent_dim = 3

    def __init__(self, means: Tensor, log_variance: Tensor, grey: float, shape: Sequence[int]) -> None:
        super().__init__()
        self.means, self.log_variance, self.grey, self.shape = means, log_variance, grey, shape
        self.codes: list[Tensor] = []

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.means, self.log_variance.expand(len(x), -1)

    def logits(self, z: Tensor) -> Tensor:
        self.codes.append(z)
        return torch.full((len(z), *self.shape), log(self.grey / (1 - self.grey)))

    def decode(self, z: Tensor) -> Tensor:
        return self.logits(z).sigmoid()


SHAPE, COUNT = (3, 8, 8), 600
LOG_VARIANCE = torch.tensor([log(0.5), 0.0, log(0.3)])


def fixed_vae() -> FixedVae:
    means = torch.zeros(COUNT, 3)
    means[:, 0] = torch.tensor([1.0, -1.0]).repeat(COUNT // 2)  # variance 1: active
    means[:, 1] = 2.0  # far from the prior, but the same for all images
    means[:, 2] = torch.tensor([0.05, -0.05]).repeat(COUNT // 2)  # variance .0025
    return FixedVae(means, LOG_VARIANCE, 0.5, SHAPE)


KL = (
    0.5 * (1 + 0.5 - 1 - log(0.5))  # unit 0
    + 0.5 * 4  # unit 1
    + 0.5 * (0.0025 + 0.3 - 1 - log(0.3))
)
PIXELS = 192


def beta_vae(beta: float = 1.0, **params: str) -> BetaVae:
    return BetaVae(tiny_spec("beta_vae", beta=beta, **params).params, shape=(3, 16, 16))


def images_around_grey(sds: Sequence[float]) -> Tensor:
    """Return equally many images of each deviation from 1/2, in that order, rounded to 8 bits."""
    sd = torch.tensor(sds).repeat_interleave(COUNT // len(sds))[:, None, None, None]
    x = 0.5 + sd * torch.randn(COUNT, *SHAPE, generator=seeded(0))
    return (x.clamp(0, 1) * 255).round() / 255


def test_bpd_of_a_vae_is_that_of_the_best_decoder_variance() -> None:
    x = images_around_grey([0.12])
    mse = float((x - 0.5).double().square().mean())
    expected = bits_per_dim(PIXELS / 2 * log(2 * pi * e * mse) + KL, PIXELS) + log(255) / log(2)
    found = beta_vae().judge(fixed_vae(), x, None, seeded(0)).metrics
    assert found["kl"] == pytest.approx(KL, rel=1e-5)
    assert found["bpd"] == pytest.approx(expected, abs=0.02)
    assert found["bpd"] >= expected - 0.005


def test_variance_is_fitted_on_the_first_half_and_judged_on_the_second() -> None:
    x = images_around_grey([0.06, 0.12])
    first, second = ((half - 0.5).double().square().mean().item() for half in x.chunk(2))
    nats = PIXELS / 2 * (log(2 * pi * first) + second / first) + KL
    expected = bits_per_dim(nats, PIXELS) + log(255) / log(2)
    assert beta_vae().judge(fixed_vae(), x, None, seeded(0)).metrics["bpd"] == pytest.approx(expected, abs=0.02)


def test_error_psnr_and_losses_are_those_of_their_names() -> None:
    x = images_around_grey([0.12])
    mse = float((x - 0.5).double().square().mean())
    found = beta_vae(beta=0.2).judge(fixed_vae(), x, None, seeded(0)).metrics
    assert found["recon_mse"] == pytest.approx(mse, rel=1e-5)
    assert found["psnr"] == pytest.approx(-10 * np.log10(mse), rel=1e-5)
    assert found["beta_eff"] == pytest.approx(0.2 / (2 * mse), rel=1e-5)
    assert found["active_units"] == 1
    assert found["recon_loss"] == pytest.approx(PIXELS * mse, rel=1e-5)
    assert found["beta_kl_loss"] == pytest.approx(0.2 * KL, rel=1e-5)
    assert found["loss"] == pytest.approx(PIXELS * mse + 0.2 * KL, rel=1e-5)
    assert "mig" not in found


def test_beta_changes_neither_bpd_nor_kl_and_bernoulli_has_no_effective_beta() -> None:
    x = images_around_grey([0.12])
    low, high, other = (
        model.judge(fixed_vae(), x, None, seeded(0)).metrics
        for model in (beta_vae(0.01), beta_vae(10.0), beta_vae(1.0, likelihood="bernoulli"))
    )
    for name in ("bpd", "kl", "recon_mse", "active_units"):
        assert low[name] == high[name] == other[name]
    assert "beta_eff" in low
    assert "beta_eff" not in other
    assert other["recon_loss"] == pytest.approx(PIXELS * log(2), rel=1e-5)


def test_what_is_decoded_is_one_draw_of_the_code() -> None:
    vae = fixed_vae()
    beta_vae().judge(vae, images_around_grey([0.12]), None, seeded(0))
    codes, means = torch.cat(vae.codes).split(COUNT)  # the bound's codes, then those of the reconstructions
    assert codes.shape == means.shape == (COUNT, 3)
    noise = (codes - vae.means) / (0.5 * LOG_VARIANCE).exp()
    assert noise.mean(0).tolist() == pytest.approx([0, 0, 0], abs=0.13)
    assert noise.var(0).tolist() == pytest.approx([1, 1, 1], abs=0.2)


def test_a_vae_that_knows_every_image_is_still_judged_in_numbers() -> None:
    vae, x = fixed_vae(), torch.full((COUNT, *SHAPE), 0.5)
    found = beta_vae().judge(vae, x, None, seeded(0)).metrics
    assert all(isfinite(value) for value in found.values())
