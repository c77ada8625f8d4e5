from __future__ import annotations

from math import sqrt

import pytest
import torch
from torch import Tensor

from tests.trainables.tiny import tiny_model, tiny_spec
from trainables.ncsn.loss import dsm_loss, edm_weight
from trainables.ncsn.noise_levels import geometric

D = 3 * 32 * 32


def mean_loss(score: object, x: Tensor, sigma: float | Tensor) -> float:
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    level = torch.as_tensor(sigma).expand(len(x)).reshape(-1, 1, 1, 1)
    loss = dsm_loss(score, x, level, noise)  # type: ignore[arg-type]
    assert loss.shape == (len(x),)
    return float(loss.mean())


@pytest.mark.parametrize("sigma", [0.01, 1.0, 50.0])
def test_zero_score_costs_half_the_dimension_at_every_level(sigma: float) -> None:
    x = torch.rand(512, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert mean_loss(lambda x, _: torch.zeros_like(x), x, sigma) == pytest.approx(D / 2, abs=5 * sqrt(D / 2 / 512))


@pytest.mark.parametrize(("sigma", "expected"), [(1.0, 88.855), (0.1, 1320.874), (0.01, 1533.502)])
def test_exact_score_of_a_gaussian_costs_its_closed_form(sigma: float, expected: float) -> None:
    variance = 0.0614
    x = 0.4 + sqrt(variance) * torch.randn(1024, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    found = mean_loss(lambda x, sigma: -(x - 0.4) / (variance + sigma**2), x, sigma)
    assert found == pytest.approx(expected, rel=5e-3)


@pytest.mark.parametrize(
    ("grid", "expected"),
    [((1, 0.01, 10), 1035.32), ((1, 0.01, 50), 1055.97), ((50, 0.01, 232), 579.85), ((1, 0.1, 10), 643.11)],
)
def test_the_grid_alone_sets_the_loss_of_a_perfect_network(grid: tuple[float, float, int], expected: float) -> None:
    losses = [D / 2 * 0.0614 / (0.0614 + sigma**2) for sigma in geometric(*grid)]
    assert sum(losses) / len(losses) == pytest.approx(expected, abs=0.01)


def test_one_point_data_can_be_denoised_without_loss() -> None:
    x = torch.full((8, 3, 4, 4), 0.3)
    assert mean_loss(lambda x, sigma: -(x - 0.3) / sigma**2, x, 0.5) == pytest.approx(0, abs=1e-9)


def test_the_weighting_of_edm_is_that_of_its_denoiser() -> None:
    x, noise = torch.rand(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    sigma, variance = torch.tensor([0.1, 2.0]), 0.06
    level = sigma[:, None, None, None]
    guess = x + level * noise - 0.3 * level**2 * x  # of the score -.3 x: D = y + sigma^2 s
    ours = dsm_loss(lambda _, __: -0.3 * x, x, level, noise) * edm_weight(sigma, variance)
    theirs = (sigma**2 + variance) / (sigma**2 * variance) * (guess - x).square().flatten(1).sum(1)
    torch.testing.assert_close(ours, theirs / 2)


class Recorder(torch.nn.Module):
    """A network that remembers the noise levels that it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.levels: set[float] = set()

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        self.levels.update(sigma.flatten().tolist())
        return torch.zeros_like(x)


def test_training_draws_every_level_from_the_largest_to_the_smallest() -> None:
    model, network = tiny_model(tiny_spec("ncsn", num_scales=7)), Recorder()
    model.loss(network, torch.rand(500, 3, 4, 4), 0.0, torch.Generator().manual_seed(0))
    assert sorted(network.levels, reverse=True) == pytest.approx(geometric(1.0, 0.01, 7))


def test_weighting_changes_the_training_loss_and_leaves_the_held_out_loss() -> None:
    x, runs = torch.rand(8, 3, 16, 16), []
    for name in ("sigma2", "edm"):
        model = tiny_model(tiny_spec("ncsn", sigma_begin=0.6, sigma_end=0.5, num_scales=1, weighting=name))
        with torch.inference_mode():
            loss = model.loss(model.network.eval(), x, 0, torch.Generator().manual_seed(0))["loss"]
            runs.append((loss, model.judge(model.network, x, None, torch.Generator().manual_seed(0)).metrics))
    (plain, held_out), (weighted, same) = runs
    assert torch.allclose(weighted, plain * (1 + 0.5**2 * 12))
    assert same == held_out
