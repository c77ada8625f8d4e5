from __future__ import annotations

from math import inf, log

import pytest
import torch

from trainables.beta_vae.loss import kl_divergence, reconstruction, warmed_up
from trainables.beta_vae.network import Vae
from trainables.beta_vae.sampling import interpolation, reconstructions, traversal


def test_vae_has_the_parameters_of_the_reference() -> None:
    assert sum(weight.numel() for weight in Vae(128, 64, resolution=32).parameters()) == 7_812_483


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
