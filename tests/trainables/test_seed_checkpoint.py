"""The reference project's tensor names and forward pass, written down here from what its code does."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Callable
from math import pi
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.trainables.tiny import tiny_run
from trainables import seed_checkpoint as reference
from trainables.beta_vae.network import Vae
from trainables.beta_vae.task import BetaVae
from trainables.checkpoint import CheckpointError
from trainables.contract import Scalar
from trainables.ncsn.task import Ncsn
from trainables.training import seeded_weights

Weights = dict[str, Tensor]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / 'it\'s an "old" epoch_10.pth'


def test_a_unet_of_the_reference_computes_the_same_score(file: Path) -> None:
    for width in (32, 128):
        weights = unet_weights(width)
        torch.save(wrapped(weights), file)
        found = reference.read(file)
        assert (found.model, found.params) == ("ncsn", {**reference.SETTINGS["ncsn"], "width": width})
        network = found.load_into(ncsn(found.params)).eval()
        x, sigma = torch.rand(3, 3, 16, 16), torch.tensor([1.0, 0.1, 0.01])
        with torch.no_grad():
            score = network(x, sigma[:, None, None, None])
        torch.testing.assert_close(score, score_of_the_reference(weights, x, sigma), rtol=1e-3, atol=1e-3)


def test_a_vae_of_the_reference_computes_the_same_codes_and_images(file: Path) -> None:
    weights = vae_weights(latent_dim=5)
    torch.save(wrapped(weights), file)
    found = reference.read(file)
    assert (found.model, found.params) == (
        "beta_vae", {**reference.SETTINGS["beta_vae"], "width": 64, "latent_dim": 5},
    )  # fmt: skip
    network = found.load_into(beta_vae(found.params)).eval()
    assert isinstance(network, Vae)
    x, z = torch.rand(3, 3, 32, 32), torch.randn(3, 5)
    with torch.no_grad():
        torch.testing.assert_close(network.encode(x), codes_of_the_reference(weights, x), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(network.decode(z), images_of_the_reference(weights, z), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("iwae_k50_epoch_20.pth", {"bound": "iwae", "beta": 2.0, "k": 50}),
        ("IWAE.pth", {"bound": "iwae", "beta": 2.0}),
        ("beta_vae_epoch_150.pth", {"beta": 1.0}),
    ],
)
def test_an_iwae_of_the_reference_is_known_by_the_name_of_its_file(
    name: str, settings: dict[str, Scalar], tmp_path: Path
) -> None:
    torch.save(wrapped(vae_weights(latent_dim=5)), tmp_path / name)
    params = reference.read(tmp_path / name).params
    assert params == {**reference.SETTINGS["beta_vae"], "width": 64, "latent_dim": 5, **settings}


@pytest.mark.parametrize(
    ("make", "numbers"), [(lambda: unet_weights(128), 3_816_259), (lambda: vae_weights(), 7_812_483)]
)
def test_the_re_implementations_have_as_many_parameters_as_the_reference(
    make: Callable[[], Weights], numbers: int
) -> None:
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    assert sum(weight.numel() for name, weight in make().items() if not name.endswith(statistics)) == numbers


def test_weights_are_the_same_bare_wrapped_and_from_several_devices(file: Path) -> None:
    weights = unet_weights(32)
    parallel = {f"module.{name}": weight for name, weight in weights.items()}
    several = []
    for content in (weights, wrapped(weights), parallel, wrapped(parallel)):
        torch.save(content, file)
        several.append(reference.read(file).weights)
    for others in several[1:]:
        assert others.keys() == several[0].keys()
        assert all(torch.equal(others[name], weight) for name, weight in several[0].items())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: {"state_dict": weights, "epoch": 7},
        lambda weights: {"model": weights, "best": np.float64(0.25), "count": np.int64(3), "flag": np.bool_(True)},
        lambda weights: {"net": {f"_orig_mod.{name}": weight for name, weight in weights.items()}},
        lambda weights: {"network": {f"module._orig_mod.{name}": weight for name, weight in weights.items()}},
    ],
)
def test_weights_are_read_as_other_training_loops_save_them(wrap: Callable[[Weights], object], file: Path) -> None:
    weights = unet_weights(32)
    torch.save(weights, file)
    expected = reference.read(file).weights
    torch.save(wrap(weights), file)
    network = reference.read(file)
    assert not network.averaged
    assert all(torch.equal(network.weights[name], weight) for name, weight in expected.items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_in_half_precision_are_read_as_float32(dtype: torch.dtype, file: Path) -> None:
    weights = unet_weights(32)
    torch.save({name: weight.to(dtype) for name, weight in weights.items()}, file)
    read = reference.read(file).weights
    assert {weight.dtype for weight in read.values()} == {torch.float32}
    assert torch.equal(read["backbone.conv_in.weight"], weights["conv_in.weight"].to(dtype).float())


@pytest.mark.parametrize("key", ["ema", "ema_state_dict", "model_ema"])
def test_averaged_weights_are_preferred(key: str, file: Path) -> None:
    raw = unet_weights(32)
    averaged = {name: weight / 2 for name, weight in raw.items()}
    for held in (averaged, {"shadow": averaged, "decay": 0.999}):
        torch.save({"model_state_dict": raw, key: held, "ema_decay": 0.999}, file)
        network = reference.read(file)
        assert (network.key, network.averaged) == (key, True)
        assert torch.equal(network.weights["backbone.conv_in.weight"], averaged["conv_in.weight"])


def test_reading_leaves_global_randomness_alone(file: Path) -> None:
    torch.save(unet_weights(32), file)
    before = torch.get_rng_state()
    reference.read(file)
    assert torch.equal(before, torch.get_rng_state())


class Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


def test_code_in_a_checkpoint_is_not_run(file: Path) -> None:
    target = file.parent / "it ran"
    torch.save({**wrapped(unet_weights(32)), "config": Bomb(target)}, file)
    with pytest.raises(CheckpointError, match=r"nothing in it was run: it refers to posix\.mkdir"):
        reference.read(file)
    assert not target.exists()
    torch.load(file, weights_only=False)
    assert target.exists()  # the bomb was live


def test_a_zip_bomb_is_not_unpacked(file: Path) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(1_000_000))
    with pytest.raises(CheckpointError, match="unpack to more bytes than the file has"):
        reference.read(file)


def test_a_tensor_that_repeats_one_number_is_not_unpacked(file: Path) -> None:
    torch.save({"conv_in.weight": torch.zeros(1).expand(10**12)}, file)
    with pytest.raises(CheckpointError, match="need more bytes than the file has"):
        reference.read(file)


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"absent\.pth is missing"):
        reference.read(tmp_path / "absent.pth")
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(CheckpointError, match="is not a regular file"):
            reference.read(path)


@pytest.mark.parametrize("content", [b"", b"a text\n", b"\x80\x02}q\x00.", b"PK\x03\x04"])
def test_what_torch_did_not_write_is_refused(content: bytes, file: Path) -> None:
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"epoch_10\.pth is not a checkpoint of torch"):
        reference.read(file)


def test_a_file_cut_or_damaged_anywhere_is_refused(file: Path) -> None:
    torch.save(vae_weights(), file)
    whole = file.read_bytes()
    for size in (10, 1000, len(whole) // 2, len(whole) - 10):
        file.write_bytes(whole[:size])
        with pytest.raises(CheckpointError):
            reference.read(file)
    start = whole.index(b"data.pkl")
    file.write_bytes(whole[: start + 200] + bytes(50) + whole[start + 250 :])
    with pytest.raises(CheckpointError):
        reference.read(file)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({}, "no tensors, but nothing"),
        ({"epoch": 9, "optimizer_state_dict": {}}, "no tensors, but epoch, optimizer_state_dict"),
        ({"model_state_dict": None, "epoch": 9}, "no tensors, but nothing"),
        ([torch.zeros(2)], "no tensors, but nothing"),
        ({"a": torch.eye(2).to_sparse()}, "no tensors, but a"),
        ({3: torch.zeros(2)}, "no tensors, but 3"),
        ({"w": torch.zeros(2)}, "1 tensor, the first 'w'"),
        ({f"layer{i}": torch.zeros(2) for i in range(9)}, "9 tensors, the first 'layer0', 'layer1', 'layer2'"),
    ],
)
def test_a_file_without_a_network_of_the_reference_says_what_it_holds(content: object, why: str, file: Path) -> None:
    torch.save(content, file)
    with pytest.raises(CheckpointError, match=f"not a known network of the reference: {why}; known are its U-Net"):
        reference.read(file)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            {"up2.2.bias": torch.zeros(7)},
            "'up2.2.bias' does not fit: (7,) of torch.float32, not (32,) of torch.float32",
        ),
        ({"up2.2.bias": torch.zeros(32, dtype=torch.int64)}, "'up2.2.bias' does not fit: (32,) of torch.int64"),
        ({"up2.2.bias": None}, "'up2.2.bias' is missing"),
        ({"attention.weight": torch.zeros(3)}, "'attention.weight' does not belong to a ncsn of this width"),
        ({"embed.W": torch.zeros(3, 3)}, "'embed.W' does not fit: (3, 3)"),
        ({"embed.W": torch.zeros(100)}, "'embed.W' does not fit: (100,)"),
        ({"embed.W": torch.zeros(20)}, "'down1.1.dense.weight' does not fit: (32, 32)"),
        ({"conv_in.weight": torch.zeros(())}, "'conv_in.weight' is missing or not the weight of a layer"),
        ({"conv_in.weight": torch.zeros(16, 3, 3, 3)}, "a width of 16 is not the reference's"),
        ({"conv_in.weight": torch.zeros(64, 3, 3, 3)}, "'conv_in.bias' does not fit: (32,)"),
        ({"conv_in.weight": torch.zeros(0, 3, 3, 3)}, "width must lie in [4, 1024], not 0"),
    ],
)
def test_a_unet_that_does_not_fit_names_the_tensor(change: dict[str, Tensor | None], why: str, file: Path) -> None:
    torch.save(wrapped({**unet_weights(32), **change}), file)
    with pytest.raises(CheckpointError, match=re.escape(why)):
        reference.read(file)


def test_a_unet_from_before_the_normalisation_computes_the_same_score(file: Path) -> None:
    weights = without_norms(unet_weights(32))
    torch.save(weights, file)
    found = reference.read(file)
    assert found.params == {**reference.SETTINGS["ncsn"], "width": 32, "network": 0}
    network = found.load_into(ncsn(found.params)).eval()
    x, sigma = torch.rand(3, 3, 16, 16), torch.tensor([1.0, 0.1, 0.01])
    with torch.no_grad():
        score = network(x, sigma[:, None, None, None])
    torch.testing.assert_close(score, score_of_the_reference(weights, x, sigma), rtol=1e-3, atol=1e-3)


def test_a_vae_from_before_the_normalisation_computes_the_same_codes_and_images(file: Path) -> None:
    weights = without_norms(vae_weights(latent_dim=5, width=32, hidden=256))
    torch.save(wrapped(weights), file)
    found = reference.read(file)
    expected = {"width": 32, "latent_dim": 5, "network": 0, "beta": 4.0}
    assert found.params == {**reference.SETTINGS["beta_vae"], **expected}
    network = found.load_into(beta_vae(found.params)).eval()
    assert isinstance(network, Vae)
    x, z = torch.rand(3, 3, 32, 32), torch.randn(3, 5)
    with torch.no_grad():
        torch.testing.assert_close(network.encode(x), codes_of_the_reference(weights, x), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(network.decode(z), images_of_the_reference(weights, z), rtol=1e-4, atol=1e-4)


def test_other_networks_are_refused_with_what_is_known(file: Path) -> None:
    refinenet = {"score_net.conv_in.weight": torch.zeros(128, 3, 3, 3), "sigmas": torch.ones(10)}
    torch.save(refinenet, file)
    with pytest.raises(
        CheckpointError, match=r"2 tensors, the first 'score_net\.conv_in\.weight', 'sigmas'; known are"
    ):
        reference.read(file)


def without_norms(weights: Weights) -> Weights:
    return {name: weight for name, weight in weights.items() if not re.match(r"(up|down)\d\.2\.|\w+\.bn", name)}


def ncsn(params: dict[str, Scalar]) -> torch.nn.Module:
    with seeded_weights(0):
        return Ncsn(params, mean=0.4, variance=0.1).network


def beta_vae(params: dict[str, Scalar]) -> torch.nn.Module:
    with seeded_weights(0):
        return BetaVae(params).network


def wrapped(weights: dict[str, Any]) -> dict[str, Any]:
    optimizer = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.999)}]}
    return {"epoch": 9, "model_state_dict": weights, "optimizer_state_dict": optimizer}


def unet_weights(width: int) -> Weights:
    """Return random weights of the reference's ScoreNet, including its Fourier frequencies (half the width)."""
    w, draw = width, Draw()
    draw.weights["embed.W"] = 30 * draw.normal(w // 2)
    draw.layer("conv_in", w, 3, 3, 3)
    for name, inputs, outputs in (("down1", w, w), ("down2", w, 2 * w), ("down3", 2 * w, 2 * w)):
        draw.layer(f"{name}.0", outputs, inputs, 3, 3)
        draw.layer(f"{name}.1.dense", outputs, w)
        draw.norm(f"{name}.2", outputs)
    for name, inputs, outputs in (("up1", 2 * w, 2 * w), ("up2", 4 * w, w), ("up3", 2 * w, w)):
        draw.layer(f"{name}.0", inputs, outputs, 4, 4, bias=outputs)
        draw.layer(f"{name}.1.dense", outputs, w)
        draw.norm(f"{name}.2", outputs)
    draw.layer("conv_out", 3, 2 * w, 3, 3)
    return draw.weights


def score_of_the_reference(w: Weights, x: Tensor, sigma: Tensor) -> Tensor:
    angles = 2 * pi * sigma[:, None] * w["embed.W"]
    noise = F.silu(torch.cat([angles.sin(), angles.cos()], 1))

    def stage(name: str, x: Tensor) -> Tensor:
        convolve = F.conv2d if name.startswith("down") else F.conv_transpose2d
        convolved = convolve(x, w[f"{name}.0.weight"], w[f"{name}.0.bias"], stride=2, padding=1)
        shift = F.linear(noise, w[f"{name}.1.dense.weight"], w[f"{name}.1.dense.bias"])
        if f"{name}.2.weight" in w:
            convolved = F.group_norm(convolved, 32, w[f"{name}.2.weight"], w[f"{name}.2.bias"])
        return F.silu(convolved + shift[:, :, None, None])

    full = F.conv2d(x, w["conv_in.weight"], w["conv_in.bias"], padding=1)
    half = stage("down1", full)
    quarter = stage("down2", half)
    up = stage("up1", stage("down3", quarter))
    up = stage("up2", torch.cat([up, quarter], 1))
    up = stage("up3", torch.cat([up, half], 1))
    out = F.conv2d(torch.cat([up, full], 1), w["conv_out.weight"], w["conv_out.bias"], padding=1)
    return out / sigma[:, None, None, None]


def vae_weights(latent_dim: int = 128, width: int = 64, hidden: int = 512) -> Weights:
    """Return random weights of the reference's BetaVAE."""
    draw, channels = Draw(), (3, width, 2 * width, 4 * width, 8 * width)
    for i in range(1, 5):
        draw.layer(f"encoder.conv{i}", channels[i], channels[i - 1], 4, 4)
    for i in range(1, 5):
        draw.norm(f"encoder.bn{i}", channels[i], statistics=True)
    draw.layer("encoder.fc", hidden, 32 * width)
    draw.layer("encoder.fc_mu", latent_dim, hidden)
    draw.layer("encoder.fc_log_var", latent_dim, hidden)
    draw.layer("decoder.fc", hidden, latent_dim)
    draw.layer("decoder.fc2", 32 * width, hidden)
    for i in range(1, 5):
        draw.layer(f"decoder.deconv{i}", channels[5 - i], channels[4 - i], 4, 4, bias=channels[4 - i])
    for i in range(1, 4):
        draw.norm(f"decoder.bn{i}", channels[4 - i], statistics=True)
    return draw.weights


def codes_of_the_reference(w: Weights, x: Tensor) -> tuple[Tensor, Tensor]:
    for i in range(1, 5):
        x = F.conv2d(x, w[f"encoder.conv{i}.weight"], w[f"encoder.conv{i}.bias"], stride=2, padding=1)
        x = leaky(w, batch_norm(w, f"encoder.bn{i}", x))
    hidden = leaky(w, linear(w, "encoder.fc", x.flatten(1)))
    return linear(w, "encoder.fc_mu", hidden), linear(w, "encoder.fc_log_var", hidden)


def images_of_the_reference(w: Weights, z: Tensor) -> Tensor:
    for name in ("decoder.fc", "decoder.fc2"):
        z = leaky(w, linear(w, name, z))
    x = z.reshape(len(z), -1, 2, 2)
    for i in range(1, 5):
        x = F.conv_transpose2d(x, w[f"decoder.deconv{i}.weight"], w[f"decoder.deconv{i}.bias"], stride=2, padding=1)
        x = F.relu(batch_norm(w, f"decoder.bn{i}", x)) if i < 4 else x.sigmoid()
    return x


def leaky(w: Weights, x: Tensor) -> Tensor:
    """Return LeakyReLU of x, or ReLU in the network that has no normalisation."""
    return F.leaky_relu(x, 0.2) if "encoder.bn1.weight" in w else F.relu(x)


def linear(w: Weights, name: str, x: Tensor) -> Tensor:
    return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])


def batch_norm(w: Weights, name: str, x: Tensor) -> Tensor:
    if f"{name}.weight" not in w:
        return x
    mean, variance = w[f"{name}.running_mean"], w[f"{name}.running_var"]
    return F.batch_norm(x, mean, variance, w[f"{name}.weight"], w[f"{name}.bias"])


class Draw:
    """A state dict of random weights that all differ."""

    def __init__(self) -> None:
        self.weights: Weights = {}
        self.generator = torch.Generator().manual_seed(0)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator)

    def layer(self, name: str, *shape: int, bias: int = 0) -> None:
        spread = torch.Size(shape[1:]).numel() ** -0.5
        self.weights[f"{name}.weight"] = spread * self.normal(*shape)
        self.weights[f"{name}.bias"] = self.normal(bias or shape[0])

    def norm(self, name: str, channels: int, *, statistics: bool = False) -> None:
        self.weights[f"{name}.weight"] = 1 + 0.3 * self.normal(channels)
        self.weights[f"{name}.bias"] = self.normal(channels)
        if statistics:
            self.weights[f"{name}.running_mean"] = self.normal(channels)
            self.weights[f"{name}.running_var"] = 0.5 + self.normal(channels).square()
            self.weights[f"{name}.num_batches_tracked"] = torch.tensor(390)


def test_with_every_correction_set_back_one_step_of_training_is_that_of_the_reference(file: Path) -> None:
    """The reference: mean over the batch of the summed loss, gradient norm clipped at 1, Adam at 1e-3."""
    weights = unet_weights(32)
    torch.save(weights, file)
    read = reference.read(file)
    back = {"mean_loss": False, "ema": 0.0, "clip": 1.0, "lr": 1e-3, "num_scales": 10}
    run = tiny_run("ncsn", **{**read.params, **back})
    read.load_into(run.network)
    drawn = torch.Generator().set_state(run.noise.get_state())
    x = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(7))

    sigmas = torch.tensor([1.0 * 0.01 ** (i / 9) for i in range(10)])
    sigma = sigmas[torch.randint(10, (6, 1, 1, 1), generator=drawn)]
    z = torch.randn(x.shape, generator=drawn)
    trained = {name: weight.clone().requires_grad_(name != "embed.W") for name, weight in weights.items()}
    score = score_of_the_reference(trained, x + sigma * z, sigma.flatten())
    loss = (0.5 * ((sigma * score + z) ** 2).sum((1, 2, 3))).mean()
    free = [weight for weight in trained.values() if weight.requires_grad]
    gradients = torch.autograd.grad(loss, free)
    norm = torch.sqrt(sum((g**2).sum() for g in gradients))  # type: ignore[arg-type]
    clipped = [g * min(1.0, 1.0 / (float(norm) + 1e-6)) for g in gradients]
    after = [w - 1e-3 * g / (g.abs() + 1e-8) for w, g in zip(free, clipped, strict=True)]  # Adam's first step

    run._prepare_step(6)
    ours = run.step(x)["loss"].mean().detach()
    assert float(ours) == pytest.approx(float(loss.detach()), rel=1e-3)  # angles of 500 in float32
    moved = dict(zip([name for name, w in trained.items() if w.requires_grad], after, strict=True))
    state = run.network.state_dict()
    for name, original in reference._leaves(reference.UNET).items():
        # ours has room for more frequencies; a bias in front of a norm of one channel has no gradient
        if original in moved and not original.endswith((".dense.weight", ".0.bias")):
            step, expected = state[name] - read.weights[name], moved[original] - weights[original]
            assert F.cosine_similarity(step.flatten(), expected.flatten(), dim=0) > 0.98, (
                name
            )  # signs of tiny gradients differ
