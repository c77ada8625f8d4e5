"""Every image model fulfils the contract of contract.py."""

from __future__ import annotations

from math import inf

import pytest
import torch

from tests.trainables.tiny import SMALL, tiny_model, tiny_run, tiny_spec
from trainables.contract import Scalar

KINDS = pytest.mark.parametrize("kind", list(SMALL))
RESOLUTIONS = pytest.mark.parametrize("resolution", [16, 32])


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@KINDS
@RESOLUTIONS
def test_losses_are_one_finite_float_an_image_and_can_be_trained_on(kind: str, resolution: int) -> None:
    model = tiny_model(tiny_spec(kind), resolution)
    losses = model.loss(model.network, torch.rand(5, 3, resolution, resolution), inf, seeded(0))
    for loss in losses.values():
        assert (loss.shape, loss.dtype) == ((5,), torch.float32)
        assert loss.isfinite().all()
    losses["loss"].mean().backward()  # type: ignore[no-untyped-call]
    trained = [weight for weight in model.network.parameters() if weight.requires_grad]
    assert all(weight.grad is not None for weight in trained)


@KINDS
def test_the_same_generator_gives_the_same_losses(kind: str) -> None:
    model, x = tiny_model(tiny_spec(kind)), torch.rand(5, 3, 16, 16)
    first, same, other = (model.loss(model.network, x, inf, seeded(seed))["loss"] for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


@KINDS
@RESOLUTIONS
def test_samples_have_the_shape_of_the_images_and_follow_the_generator(kind: str, resolution: int) -> None:
    model = tiny_model(tiny_spec(kind), resolution)
    network = model.network.eval()
    first, same, other = (model.sample(network, 3, {}, 9, seeded(seed)) for seed in (0, 0, 1))
    assert first.shape == (3, 3, resolution, resolution)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert not first.requires_grad


@KINDS
def test_sampling_and_pictures_leave_weights_and_global_randomness_alone(kind: str) -> None:
    model = tiny_model(tiny_spec(kind))
    network = model.network.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    x, randomness = torch.rand(4, 3, 16, 16), torch.get_rng_state()
    model.sample(network, 70, {}, 9, seeded(0))
    model.pictures(network, x, seeded(0))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert torch.equal(randomness, torch.get_rng_state())


@KINDS
@RESOLUTIONS
def test_pictures_fill_their_rows_with_images(kind: str, resolution: int) -> None:
    model = tiny_model(tiny_spec(kind), resolution)
    pictures = model.pictures(model.network.eval(), torch.rand(4, 3, resolution, resolution), seeded(0))
    assert list(pictures) == (["reconstructions", "traversal", "interpolation"] if kind == "beta_vae" else [])
    for grid in pictures.values():
        assert grid.images.shape[1:] == (3, resolution, resolution)
        assert len(grid.images) % grid.columns == 0
        assert 0 <= grid.images.min() <= grid.images.max() <= 1


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
