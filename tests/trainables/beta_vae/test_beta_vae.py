from __future__ import annotations

from math import inf, log

import pytest
import torch

from trainables.beta_vae.loss import importance_weighted, kl_divergence, log_ratio, reconstruction, warmed_up
from trainables.beta_vae.network import Vae
from trainables.beta_vae.sampling import interpolation, reconstructions, traversal
from trainables.beta_vae.task import BetaVae
from trainables.catalog import MODELS


def test_vae_has_the_parameters_of_the_reference() -> None:
    assert sum(weight.numel() for weight in Vae(128, 64, resolution=32).parameters()) == 7_812_483


def test_codes_are_drawn_with_the_standard_deviation_of_the_encoder() -> None:
    net, x, noise = Vae(4, 8, resolution=16).eval(), torch.rand(2, 3, 16, 16), torch.randn(2, 4)
    net.log_variance.bias.data.fill_(log(4))
    net.log_variance.weight.data.zero_()
    logits, mean, log_variance = net(x, noise)
    assert torch.allclose(log_variance, torch.full((2, 4), log(4)))
    assert torch.allclose(logits, net.logits(mean + 2 * noise), atol=1e-5)


@pytest.mark.parametrize(
    ("mean", "log_variance", "expected"), [(1, 0, 0.5), (0, log(4), 0.8068528), (0.3, -2, 0.6126676), (0, 0, 0)]
)
def test_kl_to_the_standard_normal(mean: float, log_variance: float, expected: float) -> None:
    kl = kl_divergence(torch.tensor([[mean]]), torch.tensor([[float(log_variance)]]))
    assert kl.tolist() == [[pytest.approx(expected, abs=1e-6)]]


def test_gaussian_reconstruction_is_the_summed_squared_error() -> None:
    logits, x = torch.zeros(2, 3, 4, 4), torch.full((2, 3, 4, 4), 0.75)
    assert reconstruction(logits, x, "gaussian").tolist() == pytest.approx([48 * 0.25**2] * 2)


def test_bernoulli_reconstruction_is_the_cross_entropy_even_at_the_edge() -> None:
    x = torch.tensor([0.0, 1.0, 0.5]).view(3, 1, 1, 1)
    logits = torch.tensor([-200.0, 200.0, 0.0]).view(3, 1, 1, 1)
    assert reconstruction(logits, x, "bernoulli").tolist() == pytest.approx([0, 0, log(2)])


def test_kl_weight_rises_linearly_and_then_stays() -> None:
    assert [warmed_up(4.0, kimg, 10) for kimg in (0, 2.5, 10, 99, inf)] == [0, 1, 4, 4, 4]
    assert warmed_up(4.0, 0, 0) == 4


def toy(k: int, count: int = 40_000) -> tuple[float, float]:
    """Return IWAE's bound, and ln p(x), for x = 2 z + e / 2 and a q of the right mean and twice the variance.

    The means over x are -2.14240 for ln p(x) and -2.29583 for the ELBO: the gap is (1 - ln 2) / 2.
    """
    generator = torch.Generator().manual_seed(0)
    z, e = torch.randn(2, count, 1, generator=generator, dtype=torch.float64)
    x = 2 * z + 0.5 * e
    mean, log_variance = 8 * x / 17, torch.full_like(x, log(2 / 17))
    noise = torch.randn(k, count, 1, generator=generator, dtype=torch.float64)
    code = mean + (0.5 * log_variance).exp() * noise
    recon = torch.distributions.Normal(2 * code, 0.5).log_prob(x).neg().squeeze(-1)
    bound = -importance_weighted(recon, log_ratio(noise, code, log_variance), beta=1.0)
    return float(bound.mean()), float(torch.distributions.Normal(0, 4.25**0.5).log_prob(x).mean())


def test_importance_samples_close_the_gap_between_the_elbo_and_the_likelihood() -> None:
    gaps = {}
    for k in (1, 5, 50):
        bound, likelihood = toy(k)
        gaps[k] = likelihood - bound
    assert gaps[1] == pytest.approx((1 - log(2)) / 2, abs=0.01)
    assert 1 - gaps[5] / gaps[1] == pytest.approx(0.9, abs=0.03)
    assert 1 - gaps[50] / gaps[1] == pytest.approx(0.99, abs=0.01)


def test_one_importance_sample_is_the_loss_of_a_beta_vae_and_more_never_raise_it() -> None:
    recon, ratio = torch.rand(9, 4) * 50, torch.randn(9, 4) * 5
    assert torch.allclose(importance_weighted(recon[:1], ratio[:1], 3.0), recon[0] + 3.0 * ratio[0])
    single = recon + 3.0 * ratio
    assert (importance_weighted(recon, ratio, 3.0) <= single.mean(0)).all()
    assert (importance_weighted(recon, ratio, 3.0) >= single.amin(0)).all()
    assert torch.allclose(importance_weighted(recon, ratio, 0.0), recon.amin(0), atol=1e-3)  # as a warm-up starts


def test_the_mean_log_ratio_is_the_kl_divergence() -> None:
    mean, log_variance = torch.tensor([[1.0, 0.3]]), torch.tensor([[0.0, -2.0]])
    noise = torch.randn(200_000, 1, 2, generator=torch.Generator().manual_seed(0))
    ratio = log_ratio(noise, mean + (0.5 * log_variance).exp() * noise, log_variance)
    assert float(ratio.mean()) == pytest.approx(float(kl_divergence(mean, log_variance).sum()), abs=0.01)


def test_importance_samples_are_drawn_with_the_standard_deviation_of_the_encoder() -> None:
    params = {name: item.default for name, item in MODELS["beta_vae"].parameters.items()}
    model = BetaVae({**params, "width": 8, "latent_dim": 4, "bound": "iwae", "k": 3, "beta": 2.0}, shape=(3, 16, 16))
    net, x = model.network.eval(), torch.rand(2, 3, 16, 16)
    assert isinstance(net, Vae)
    net.log_variance.bias.data.fill_(log(4))
    net.log_variance.weight.data.zero_()
    losses = model.loss(net, x, 0.0, torch.Generator().manual_seed(0))
    noise = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0))
    z = net.encode(x)[0] + 2 * noise
    recon = torch.stack([reconstruction(net.logits(one), x, "gaussian") for one in z])
    assert torch.allclose(losses["recon_loss"], recon.mean(0), atol=1e-3)
    expected = importance_weighted(recon, log_ratio(noise, z, torch.full((2, 4), log(4))), 2.0)
    assert torch.allclose(losses["loss"], expected, atol=1e-3)


def test_traversal_moves_the_most_telling_latent_and_no_other() -> None:
    net = Vae(4, 8, resolution=16).eval()
    net.mean.weight.data.zero_()
    net.mean.bias.data = torch.tensor([0.0, 0.0, 2.0, 0.0])
    net.log_variance.weight.data.zero_()
    net.log_variance.bias.data.zero_()
    grid = traversal(net, torch.rand(3, 3, 16, 16), latents=1)
    z = torch.zeros(10, 4)
    z[:, 2] = torch.linspace(-3, 3, 10)
    assert grid.columns == 10
    assert torch.allclose(grid.images, net.decode(z), atol=1e-6)


def test_originals_stand_above_reconstructions_and_interpolation_ends_in_them() -> None:
    net, x = Vae(4, 8, resolution=16).eval(), torch.rand(3, 3, 16, 16)
    above, below = reconstructions(net, x).images.chunk(2)
    assert torch.equal(above, x)
    ends = interpolation(net, x).images[[0, -1]]
    assert torch.allclose(ends, below[:2], atol=1e-5)
