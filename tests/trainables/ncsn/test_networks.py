from __future__ import annotations

from math import pi

import pytest
import torch
from torch import Tensor, nn

from trainables.ncsn.refinenet import LevelNorm, RefineNet
from trainables.ncsn.resunet import ResUNet
from trainables.ncsn.score import Score
from trainables.ncsn.unet import NoiseEmbedding, ShiftedFirstStage, Stage, UNet, fitting_groups


class Constant(nn.Module):
    """The network F(x, sigma) = value. It remembers its inputs."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        self.seen = x
        return torch.full_like(x, self.value)


def test_unet_has_the_parameters_of_the_reference() -> None:
    assert sum(weight.numel() for weight in UNet(128).parameters()) == 3_816_259


def test_fourier_frequencies_are_drawn_from_the_global_seed_and_never_trained() -> None:
    def frequencies(seed: int) -> nn.Parameter:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return NoiseEmbedding("sigma").frequencies

    assert torch.equal(frequencies(1), frequencies(1))
    assert not torch.equal(frequencies(1), frequencies(2))
    assert not frequencies(1).requires_grad


def test_the_residual_network_is_that_of_a_large_model_and_starts_at_zero() -> None:
    with torch.device("meta"):
        assert sum(weight.numel() for weight in ResUNet(128, side=32).parameters()) == 29_324_995
    net = ResUNet(4, side=16, groups=2)
    assert torch.equal(net(torch.rand(2, 3, 16, 16), column(0.1, 1.0)), torch.zeros(2, 3, 16, 16))


def test_the_residual_network_learns_an_image() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net, image = ResUNet(8, side=16, groups=2), torch.rand(1, 3, 16, 16).repeat(8, 1, 1, 1)
        adam = torch.optim.Adam(net.parameters(), lr=3e-3)
        losses = []
        for _ in range(30):
            loss = (net(image + torch.randn_like(image), column(*[1.0] * 8)) - image).square().mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
            losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]


def test_the_residual_network_uses_the_noise_level_and_every_pixel() -> None:
    net = ResUNet(8, side=16, groups=2)
    for weight in net.parameters():
        if not weight.any():
            nn.init.normal_(weight, std=0.1)
    x = torch.rand(1, 3, 16, 16).repeat(2, 1, 1, 1)
    levels = net(x, column(0.3, 0.1))
    assert not torch.allclose(levels[0], levels[1], atol=1e-3)
    x[1, :, 0, 0] += 1  # the opposite corner sees it through the attention
    corner = net(x, column(0.3, 0.3))[:, :, -1, -1]
    assert not torch.allclose(corner[0], corner[1], atol=1e-6)
    assert [block.attention.heads for block in net.middle] == [1, 1]


@pytest.mark.parametrize(("conditioning", "scale"), [("sigma", 30.0), ("log_sigma", 1.0)])
def test_the_embedding_is_sine_and_cosine_of_the_level_at_frequencies_of_its_scale(
    conditioning: str, scale: float
) -> None:
    embedding, sigma = NoiseEmbedding(conditioning), column(0.02, 1.0, 3.0)
    assert embedding.frequencies.std() == pytest.approx(scale, rel=0.4)
    level = sigma.flatten() if conditioning == "sigma" else sigma.flatten().log() / 4
    angles = 2 * pi * level[:, None] * embedding.frequencies
    assert torch.allclose(embedding(sigma), torch.cat([angles.sin(), angles.cos()], 1))


@pytest.mark.parametrize("conditioning", ["sigma", "log_sigma"])
def test_unet_tells_noise_levels_apart(conditioning: str) -> None:
    net, x = UNet(8, conditioning=conditioning), torch.rand(1, 3, 16, 16).repeat(2, 1, 1, 1)
    same, other = net(x, column(0.3, 0.3)), net(x, column(0.3, 0.1))
    assert torch.allclose(same[0], same[1], atol=1e-6)
    assert not torch.allclose(other[0], other[1], atol=1e-3)


@pytest.mark.parametrize(
    ("channels", "groups", "expected"), [(128, 32, 32), (128, 20, 16), (36, 32, 9), (32, 32, 8), (7, 4, 1), (3, 1, 1)]
)
def test_groups_are_lowered_to_a_divisor_that_leaves_four_channels_each(
    channels: int, groups: int, expected: int
) -> None:
    assert fitting_groups(channels, groups, least_channels=4) == expected


def test_the_noise_level_shifts_after_the_norm_and_in_version_0_1_before_it() -> None:
    conv, noise, x = torch.nn.Conv2d(8, 8, 3, padding=1), torch.randn(2, 128), torch.rand(2, 8, 4, 4)
    for stage in (Stage(conv, groups=2, dropout=0.0), ShiftedFirstStage(conv, groups=2, dropout=0.0)):
        torch.nn.init.normal_(stage.norm.weight)
        norm = torch.nn.functional.group_norm
        weights = (stage.norm.weight, stage.norm.bias)
        if isinstance(stage, ShiftedFirstStage):
            expected = norm(conv(x) + stage.shift(noise)[:, :, None, None], 2, *weights)
        else:
            shift = stage.shift(torch.nn.functional.silu(noise))
            expected = norm(conv(x), 2, *weights) + shift[:, :, None, None]
        assert torch.allclose(stage(x, noise), torch.nn.functional.silu(expected), atol=1e-6)
    assert isinstance(UNet(8, network=1).down1, ShiftedFirstStage)
    assert not isinstance(UNet(8).down1, ShiftedFirstStage)


def test_plain_score_is_the_output_over_sigma() -> None:
    x, sigma = torch.rand(2, 3, 4, 4), column(0.5, 0.1)
    plain = Score(Constant(1.0), input_scaling=False, mean=0.4, variance=0.06)
    assert torch.allclose(plain(x, sigma), (1 / sigma).expand_as(x))


def test_scaled_score_is_exact_for_gaussian_data_when_the_network_says_nothing() -> None:
    x, sigma = torch.rand(2, 3, 4, 4), column(0.5, 20.0)
    silent = Score(Constant(0.0), input_scaling=True, mean=0.4, variance=0.06)
    assert torch.allclose(silent(x, sigma), -(x - 0.4) / (sigma**2 + 0.06))


def test_scaled_network_sees_unit_variance_and_answers_in_units_of_the_denoising_error() -> None:
    sigma = column(2.0, 2.0)
    blurred = 0.4 + (0.06 + 4) ** 0.5 * torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    backbone = Constant(1.0)
    score = Score(backbone, input_scaling=True, mean=0.4, variance=0.06)(blurred, sigma)
    assert abs(backbone.seen.std() - 1) < 0.02
    spread = (0.06 + 4) ** 0.5
    expected = 0.06**0.5 / (2 * spread) - (blurred - 0.4) / spread**2
    assert torch.allclose(score, expected, atol=1e-6)


def test_refinenet_takes_the_nearest_trained_level() -> None:
    net = RefineNet(4, [1.0, 0.1, 0.01])
    assert net.level(column(5.0, 0.4, 0.2, 0.012)).tolist() == [0, 0, 1, 2]


@pytest.mark.parametrize("term", ["gamma", "alpha", "beta"])
def test_every_term_of_a_refinenets_norms_speaks_for_its_level_alone(term: str) -> None:
    net = RefineNet(4, [1.0, 0.1])
    x = torch.rand(1, 3, 16, 16).repeat(2, 1, 1, 1)
    same, before = net(x, column(1.0, 1.0)), net(x, column(1.0, 0.1))
    assert torch.allclose(same[0], same[1], atol=1e-5)
    assert not torch.allclose(before[0], before[1], atol=1e-3)
    for norm in (module for module in net.modules() if isinstance(module, LevelNorm)):
        getattr(norm, term).data[1] += torch.rand(norm.beta.shape[1])
    after = net(x, column(1.0, 0.1))
    assert torch.allclose(after[0], before[0], atol=1e-5)
    assert not torch.allclose(after[1], before[1], atol=1e-3)


def test_level_norm_normalises_each_image_and_keeps_how_channel_means_differ() -> None:
    norm = LevelNorm(4, levels=2)
    norm.gamma.data.fill_(1)
    norm.alpha.data.fill_(1)
    x = torch.rand(3, 4, 8, 8) + torch.arange(4.0)[:, None, None]
    out = norm(x, torch.tensor([0, 1, 1]))
    assert torch.allclose(out.var((2, 3), unbiased=False), torch.ones(3, 4), atol=1e-3)
    assert (out.mean((2, 3)).diff(dim=1) > 0.5).all()


def column(*values: float) -> Tensor:
    return torch.tensor(values).view(-1, 1, 1, 1)
