"""What the models of images add to the contract, which test_contract.py checks."""

from __future__ import annotations

from math import inf

import pytest
import torch

from tests.trainables.tiny import SMALL, tiny_model, tiny_run, tiny_spec
from trainables.contract import Scalar, named_losses

KINDS = pytest.mark.parametrize("kind", list(SMALL))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@KINDS
def test_networks_take_32_pixels(kind: str) -> None:
    model = tiny_model(tiny_spec(kind), 32)
    x = torch.rand(4, 3, 32, 32)
    assert named_losses(model.loss(model.network, x, inf, seeded(0)))["loss"].shape == (4,)
    assert model.sample(model.network.eval(), 3, {}, 4, seeded(0)).shape == (3, 3, 32, 32)
    pictures = model.pictures(model.network, x, seeded(0))
    assert list(pictures) == (["reconstructions", "traversal", "interpolation"] if kind == "beta_vae" else [])
    assert all(grid.images.shape[1:] == (3, 32, 32) for grid in pictures.values())


def test_the_parts_of_the_vae_loss_add_up() -> None:
    model = tiny_model(tiny_spec("beta_vae", beta=3.0, kl_warmup_kimg=4.0))
    losses = model.loss(model.network, torch.rand(5, 3, 16, 16), 1.0, seeded(0))
    assert torch.allclose(losses["beta_kl_loss"], 0.75 * losses["kl_loss"])
    assert torch.allclose(losses["loss"], losses["recon_loss"] + losses["beta_kl_loss"])


def test_an_iwae_reports_a_bound_that_is_tighter_than_the_elbo() -> None:
    run = tiny_run("beta_vae", bound="iwae", k=20, beta=0.05, lr=1e-3)
    assert run.train(160)["loss"] < run.train(8)["recon_loss"] + run.train(8)["beta_kl_loss"]
    x = torch.rand(40, 3, 16, 16, generator=seeded(1))
    with torch.inference_mode():
        found = run.model.judge(run.evaluated_network(), x, None, seeded(0)).metrics
        plain = tiny_run("beta_vae").model.judge(run.evaluated_network(), x, None, seeded(0)).metrics
    assert found["bpd_iwae"] < found["bpd"]
    assert found["loss"] < found["recon_loss"] + found["beta_kl_loss"]
    assert "bpd_iwae" not in plain
    assert plain["bpd"] == found["bpd"]  # the same draws


@pytest.mark.parametrize(
    ("init", "spread"), [("data", (0.5, 0.04 + 1 / 12)), ("standard", (0.0, 1.0)), ("uniform", (0.5, 1 / 12))]
)
def test_chains_start_where_init_says(init: str, spread: tuple[float, float]) -> None:
    model = tiny_model(tiny_spec("ncsn", sigma_begin=0.2))
    setting: dict[str, Scalar] = {"init": init, "step_lr": 1e-12, "denoise": False}
    x = model.sample(model.network, 100, setting, 4, seeded(0))
    mean, variance = spread
    assert abs(x.mean() - mean) < 0.1
    assert abs(x.var() / variance - 1) < 0.03


def test_every_sampling_parameter_of_the_catalog_changes_the_samples() -> None:
    model = tiny_model(tiny_spec("ncsn", sigma_begin=3.0))

    def sample(**setting: Scalar) -> torch.Tensor:
        return model.sample(model.network, 2, setting, 9, seeded(0))

    plain = sample()
    changes: tuple[dict[str, Scalar], ...] = (
        {"step_size": 2.0},
        {"step_lr": 1e-5},
        {"steps_per_level": 3},
        {"denoise": False},
        {"init": "standard"},
        {"init": "uniform"},
    )
    assert not any(torch.equal(plain, sample(**change)) for change in changes)
