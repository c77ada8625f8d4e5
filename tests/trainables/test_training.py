from __future__ import annotations

from dataclasses import replace
from math import cos, pi
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.trainables.tiny import SMALL, tiny_data, tiny_model, tiny_run, tiny_spec
from trainables import checkpoint
from trainables.averaged_weights import Ema
from trainables.contract import DataSpec, NonFiniteError, Scalar
from trainables.data_order import DataOrder
from trainables.learning_rate import learning_rate
from trainables.precision import autocast, has_native_bfloat16
from trainables.training import ImageRun, seeded_weights

KINDS = pytest.mark.parametrize("kind", list(SMALL))


def same(first: Any, second: Any) -> bool:
    """Return True if two states agree to the last bit."""
    if isinstance(first, Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


@KINDS
def test_an_interrupted_run_continues_to_the_last_bit(kind: str, tmp_path: Path) -> None:
    whole, first, second = (tiny_run(kind, ema=0.9) for _ in range(3))
    whole.train(44)  # more than an epoch of 30 images, and not a multiple of the batch
    expected = whole.train(37)
    first.train(44)
    checkpoint.write(tmp_path / "half", first.state(), {})
    second.train(16)  # a run that has been elsewhere forgets it
    second.load_state(checkpoint.read(tmp_path / "half")[0])
    assert second.train(37) == expected
    assert same(second.state(), whole.state())


@pytest.mark.parametrize("arch", ["unet", "resunet"])
def test_dropout_is_drawn_by_the_step_so_an_interruption_changes_nothing(arch: str, tmp_path: Path) -> None:
    whole, first, second = (tiny_run("ncsn", arch=arch, dropout=0.3, flip=True) for _ in range(3))
    whole.train(16)
    expected = whole.train(16)
    first.train(16)
    checkpoint.write(tmp_path / "half", first.state(), {})
    second.load_state(checkpoint.read(tmp_path / "half")[0])
    torch.rand(3)  # the global generator has no say
    assert second.train(16) == expected
    without, with_it = (tiny_run("ncsn", arch=arch, dropout=share, flip=True) for share in (0.0, 0.3))
    assert without.train(48) != with_it.train(48)  # a residual block says nothing before the third step


@pytest.mark.parametrize(
    ("flip", "name", "flips"),
    [("auto", "cifar10", True), ("auto", "folder", True), ("auto", "shapes", False), ("auto", "digits", False),
     (True, "shapes", True), (False, "cifar10", False)],
)  # fmt: skip
def test_half_of_the_images_of_a_batch_are_flipped(flip: Scalar, name: str, flips: bool) -> None:
    spec = replace(tiny_spec("ncsn", flip=flip), data=DataSpec(name))
    run = ImageRun(spec, tiny_model(spec), tiny_data(), torch.device("cpu"))
    straight = ImageRun(tiny_spec("ncsn", flip=False), tiny_model(spec), tiny_data(), torch.device("cpu"))
    batch, plain = (one._batch(torch.arange(400) % 30) for one in (run, straight))
    turned = (batch != plain).flatten(1).any(1)
    assert torch.equal(batch[turned], plain[turned].flip(-1))
    assert 150 < int(turned.sum()) < 250 if flips else not turned.any()
    assert same(run.state()["noise"], straight.state()["noise"]) != flips  # what is off draws nothing


@pytest.mark.parametrize(
    ("images", "params", "rate"),
    [
        (0, {}, 0.1), (5000, {}, 0.1),
        (500, {"lr_warmup_kimg": 2.0}, 0.025), (2000, {"lr_warmup_kimg": 2.0}, 0.1),
        (5000, {"lr_decay": "cosine"}, 0.05), (10_000, {"lr_decay": "cosine"}, 0), (12_000, {"lr_decay": "cosine"}, 0),
        (1000, {"lr_warmup_kimg": 2.0, "lr_decay": "cosine"}, 0.05 * (1 + cos(pi / 10)) / 2),
    ],
)  # fmt: skip
def test_the_learning_rate_rises_over_the_warm_up_and_falls_to_the_end(
    images: int, params: dict[str, Scalar], rate: float
) -> None:
    assert learning_rate({"lr": 0.1, **params}, images, max_kimg=10.0) == pytest.approx(rate)


def test_a_step_takes_the_learning_rate_of_its_last_image() -> None:
    run = tiny_run("ncsn", lr=0.1, lr_warmup_kimg=0.032)
    for images in (8, 16, 24, 32, 40):
        run.train(8)
        assert run.optimizer.param_groups[0]["lr"] == pytest.approx(min(0.1, 0.1 * images / 32))


def test_adam_takes_its_decays_from_the_parameters() -> None:
    (group,) = tiny_run("ncsn", adam_beta1=0.5, adam_beta2=0.9, weight_decay=0.01).optimizer.param_groups
    assert (group["betas"], group["weight_decay"]) == ((0.5, 0.9), 0.01)


def test_the_average_takes_in_the_weights_after_the_step() -> None:
    run = tiny_run("ncsn", ema=0.75, ema_warmup=False)
    before = [weight.clone() for weight in run.network.parameters()]
    run.train(8)
    averages = run.evaluated_network().parameters()
    for old, new, average in zip(before, run.network.parameters(), averages, strict=True):
        torch.testing.assert_close(average, 0.75 * old + 0.25 * new)
    assert any(not torch.equal(old, new) for old, new in zip(before, run.network.parameters(), strict=True))


@KINDS
def test_the_seed_alone_fixes_a_run(kind: str) -> None:
    first, again, other = (tiny_run(kind, seed=seed) for seed in (1, 1, 2))
    torch.manual_seed(99)  # the global generator has no say
    assert first.train(20) == again.train(20) != other.train(20)


@pytest.mark.parametrize("kind", [kind for kind in SMALL if kind != "resunet"])  # it starts at the best for noise
def test_training_lowers_the_loss(kind: str) -> None:
    run = tiny_run(kind, lr=3e-3)
    first = run.train(64)["loss"]
    run.train(400)
    assert run.train(64)["loss"] < first


def test_evaluating_in_between_changes_nothing() -> None:
    plain, disturbed = tiny_run("ncsn"), tiny_run("ncsn")
    plain.train(16)
    disturbed.train(16)
    disturbed.model.sample(disturbed.evaluated_network(), 2, {}, 5, torch.Generator().manual_seed(0))
    assert plain.train(16) == disturbed.train(16)


def test_every_batch_is_whole_and_what_goes_too_far_is_taken_off_the_next_call(monkeypatch: pytest.MonkeyPatch) -> None:
    run = tiny_run("beta_vae")
    sizes, step = [], run.step

    def watched(x: Tensor) -> dict[str, Tensor]:
        sizes.append(len(x))
        return step(x)

    monkeypatch.setattr(run, "step", watched)
    for images, seen in ((25, 32), (20, 48), (3, 48), (1, 56)):
        assert run.train(images)["loss"] > 0
        assert run.images == seen
    assert set(sizes) == {8}


def test_marks_do_not_change_the_training() -> None:
    often, once = tiny_run("ncsn"), tiny_run("ncsn")
    for _ in range(16):
        often.train(4)
    once.train(64)
    for weight, other in zip(often.network.parameters(), once.network.parameters(), strict=True):
        assert torch.equal(weight, other)


def test_reported_losses_are_means_over_the_images() -> None:
    run = tiny_run("ncsn", lr=1e-12)
    # a sum over dimensions though trained as a mean
    assert run.train(300)["loss"] == pytest.approx(3 * 16 * 16 / 2, rel=0.5)


class Planted:
    """A model of one weight w with loss 100 w."""

    def __init__(self) -> None:
        self.network: nn.Module = nn.Linear(1, 1, bias=False)
        self.network.weight.data.fill_(1.0)

    def loss(self, network: nn.Module, x: Tensor, kimg: float, generator: torch.Generator) -> dict[str, Tensor]:
        return {"loss": 100 * network(torch.ones(len(x), 1)).flatten()}


@pytest.mark.parametrize(("mean_loss", "clip", "gradient"), [(False, 0, 100), (True, 0, 100 / 768), (False, 1, 1)])
def test_the_gradient_is_that_of_the_mean_loss_and_is_then_clipped(
    mean_loss: bool, clip: float, gradient: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainables.precision.has_native_bfloat16", lambda device: False)  # exact on every processor
    spec = tiny_spec("ncsn", mean_loss=mean_loss, clip=clip)
    run = ImageRun(spec, Planted(), tiny_data(), torch.device("cpu"))  # type: ignore[arg-type]
    assert run.train(8) == {"loss": pytest.approx(100)}
    assert next(run.network.parameters()).grad == pytest.approx(gradient, rel=1e-4)


@KINDS
def test_a_loss_that_is_no_number_ends_the_run(kind: str) -> None:
    run = tiny_run(kind, clip=0)
    next(weight for weight in run.network.parameters() if weight.requires_grad).data.fill_(torch.inf)
    with pytest.raises(NonFiniteError, match="loss became"):
        run.train(16)


def test_a_weight_that_is_no_number_ends_the_run_though_the_last_loss_was_one() -> None:
    run = tiny_run("ncsn", clip=0)
    step = run.step

    def break_after(x: Tensor) -> Tensor:
        losses = step(x)
        next(run.network.parameters()).data.fill_(torch.nan)
        return losses

    run.step = break_after  # type: ignore[method-assign]
    with pytest.raises(NonFiniteError, match="a weight is no longer finite"):
        run.train(8)


def test_ema_without_warmup_keeps_the_start_at_decay_to_the_power_of_steps() -> None:
    assert start_share(decay=0.999, warmup=False, steps=391) == pytest.approx(0.999**391, rel=1e-3)


def test_ema_with_warmup_has_forgotten_the_start_by_then() -> None:
    expected = 1.0
    for t in range(1, 51):
        expected *= min(0.9, (1 + t) / (10 + t))
    assert start_share(decay=0.9, warmup=True, steps=50) == pytest.approx(expected, rel=1e-3)
    assert start_share(decay=0.999, warmup=True, steps=391) < 1e-6


def start_share(decay: float, warmup: bool, steps: int) -> float:
    """Return the share that an initial weight of 1 still has after `steps` steps at 0."""
    network = nn.Linear(1, 1, bias=False)
    network.weight.data.fill_(1.0)
    ema = Ema(network, decay, warmup=warmup)
    network.weight.data.zero_()
    for _ in range(steps):
        ema.next_step()
        ema.update(network)
    return float(next(ema.network.parameters()))


def test_averaged_weights_are_judged_with_the_current_batch_statistics() -> None:
    run = tiny_run("beta_vae", ema=0.9)
    run.train(40)
    judged, trained = run.evaluated_network(), run.network
    assert not judged.training
    assert all(map(torch.equal, judged.buffers(), trained.buffers()))
    assert not torch.equal(judged.state_dict()["encoder.0.weight"], trained.state_dict()["encoder.0.weight"])


def test_without_ema_the_trained_weights_are_judged() -> None:
    run = tiny_run("beta_vae", ema=0.0)
    assert run.evaluated_network() is run.network


def test_every_image_comes_once_an_epoch_in_an_order_of_its_own() -> None:
    order = DataOrder(10, seed=0)
    stream = torch.cat([order.take(4) for _ in range(5)])
    assert sorted(stream[:10].tolist()) == sorted(stream[10:].tolist()) == list(range(10))
    assert stream[:10].tolist() != stream[10:].tolist()


def test_a_batch_may_be_larger_than_the_data() -> None:
    assert DataOrder(3, seed=0).take(8).bincount().tolist() in ([3, 3, 2], [3, 2, 3], [2, 3, 3])


def test_building_a_model_leaves_the_global_generator_as_it_was() -> None:
    before = torch.get_rng_state()
    with seeded_weights(1):
        first = torch.rand(3)
    assert torch.equal(before, torch.get_rng_state())
    with seeded_weights(2):
        assert not torch.equal(first, torch.rand(3))


@KINDS
def test_losses_and_samples_stay_float32_under_bfloat16(kind: str) -> None:
    model = tiny_model(tiny_spec(kind))
    x = torch.rand(64, 3, 16, 16)
    exact = model.loss(model.network, x, 0, torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = model.loss(model.network, x, 0, torch.Generator().manual_seed(0))
        assert model.sample(model.network, 3, {}, 4, torch.Generator().manual_seed(0)).dtype == torch.float32
    for name, loss in losses.items():
        assert loss.dtype == torch.float32
        assert loss.mean().item() == pytest.approx(exact[name].mean().item(), rel=0.05)


def test_autocast_is_on_only_where_bfloat16_is_native() -> None:
    with autocast("cpu"):
        out = torch.ones(2, 2) @ torch.ones(2, 2)
    assert (out.dtype == torch.bfloat16) == has_native_bfloat16("cpu")
