from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from math import inf, isfinite, isinf, nan

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from trainables import evaluation
from trainables.contract import DataSpec, Evaluation, Grid, Judgement, NonFiniteError, RunSpec, Scalar
from trainables.data import ImageData, load
from trainables.metrics import Reference, features, kid
from trainables.pictures import png
from trainables.sample_metrics import blurred, default_sample_metrics

Settings = tuple[Mapping[str, Scalar], ...]


class Replay:
    """A sampler that returns real images plus noise of deviation `noise`. `broken` of them are NaN."""

    def __init__(self, images: Tensor) -> None:
        self.images = images
        self.network: nn.Module = nn.Conv2d(3, 3, 1)
        self.asked: list[tuple[int, int]] = []
        self.warmth: list[float] = []

    def loss(self, network: nn.Module, x: Tensor, kimg: float, generator: torch.Generator) -> dict[str, Tensor]:
        self.warmth.append(kimg)
        parts = {"recon_loss": x.flatten(1).sum(1), "kl_loss": torch.rand(len(x), generator=generator)}
        return {"loss": parts["recon_loss"] + parts["kl_loss"], **parts}

    def sample(
        self, network: nn.Module, count: int, sampling: Mapping[str, Scalar], nfe: int, generator: torch.Generator
    ) -> Tensor:
        self.asked.append((count, nfe))
        picks = torch.randint(len(self.images), (count,), generator=generator)
        x = self.images[picks].float() / 255
        x = x + float(sampling.get("noise", 0)) * torch.randn(x.shape, generator=generator)
        x[: int(sampling.get("broken", 0)), 0, 0, 0] = nan
        return x

    def judge(self, network: nn.Module, x: Tensor, factors: Tensor | None, generator: torch.Generator) -> Judgement:
        assert factors is not None
        return Judgement(
            {"bpd": float(torch.rand(1, generator=generator)) * len(x)}, [{"sigma": 1.0, "loss": float(len(factors))}]
        )

    def settled(self, sampling: Mapping[str, Scalar], nfe: int) -> dict[str, Scalar]:
        return dict(sampling)

    def pictures(self, network: nn.Module, x: Tensor, generator: torch.Generator) -> dict[str, Grid]:
        return {"reconstructions": Grid(x[:6], columns=3)}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> ImageData:
    return load(DataSpec("shapes", 16), tmp_path_factory.mktemp("cache"))


@pytest.fixture
def model(real: ImageData) -> Replay:
    return Replay(real.test)


def spec(sampling: Settings = ({},), *, metric: str = "kid", samples: int = 300) -> RunSpec:
    return RunSpec("ncsn", {}, seed=0, metric=metric, sampling=sampling, samples=samples, final_samples=600, nfe=7)


def evaluate(
    model: Replay, network: nn.Module, spec: RunSpec, data: ImageData, *, final: bool, seed: int
) -> Evaluation:
    return evaluation.evaluate(model, network, spec, data, default_sample_metrics(data), final=final, seed=seed)


def test_kid_is_that_of_the_rounded_samples_to_the_held_out_images(model: Replay, real: ImageData) -> None:
    found = evaluate(model, model.network, spec(), real, final=False, seed=5)
    generator = torch.Generator().manual_seed(5)
    samples = torch.cat([model.sample(model.network, count, {}, 1, generator) for count in (256, 44)])
    value, stderr = kid(features(samples), Reference(features(real.held_out[:2000])))[:2]
    assert found.metrics["kid"] == pytest.approx(value, abs=1e-6)
    assert found.metrics["kid_stderr"] == pytest.approx(stderr, rel=1e-4)
    assert found.metrics["nonfinite"] == 0
    assert found.metrics["evaluation_seconds"] > 0
    assert all(isinstance(value, float) for value in found.metrics.values())


def test_kid_of_reconstructions_is_measured_at_the_end_only(real: ImageData) -> None:
    class Blurring(Replay):
        def judge(self, network: nn.Module, x: Tensor, *_: object) -> Judgement:
            return Judgement({}, [], blurred((x * 255).round().byte()) / 255)

    model = Blurring(real.test)
    early, late = (
        evaluate(model, model.network, spec(samples=16), real, final=final, seed=5).metrics for final in (False, True)
    )
    assert "kid_recon" not in early
    images = real.held_out[: evaluation.JUDGED_IMAGES]
    even, odd = (features(blurred(images[start::2])) for start in (0, 1))
    kids = kid(even, Reference(features(images[1::2]))).value, kid(odd, Reference(features(images[::2]))).value
    assert late["kid_recon"] == pytest.approx(sum(kids) / 2)


def test_a_network_is_evaluated_in_evaluation_mode(model: Replay, real: ImageData) -> None:
    model.network.train()
    evaluate(model, model.network, spec(samples=16), real, final=False, seed=5)
    assert not model.network.training


def test_samples_are_rounded_to_8_bits_and_not_cut_off(real: ImageData) -> None:
    class Gray(Replay):
        def sample(self, network: nn.Module, count: int, *_: object) -> Tensor:
            return torch.full((count, 3, 16, 16), 199.6 / 255)

    gray = Gray(real.test)
    found = evaluate(gray, gray.network, spec(samples=16), real, final=False, seed=5)
    shown = np.asarray(Image.open(BytesIO(found.pictures["samples"])))
    assert 200 in shown
    assert 199 not in shown


def test_best_setting_wins_and_the_curve_holds_all(model: Replay, real: ImageData) -> None:
    settings: Settings = ({"noise": 0.1}, {"noise": 0.0}, {"noise": 0.05})
    found = evaluate(model, model.network, spec(settings), real, final=False, seed=0)
    assert found.sampling == {"noise": 0.0}
    assert [row["noise"] for row in found.curve] == [0.1, 0.0, 0.05]
    by_noise = {row["noise"]: float(row["kid"]) for row in found.curve}
    assert by_noise[0.0] < by_noise[0.05] < by_noise[0.1]
    assert found.metrics["kid"] == by_noise[0.0]
    assert found.metrics["kid_stderr"] == found.curve[1]["kid_stderr"]


def test_metric_that_does_not_depend_on_samples_leaves_the_choice_to_kid(model: Replay, real: ImageData) -> None:
    settings: Settings = ({"noise": 0.1}, {"noise": 0.0})
    found = evaluate(model, model.network, spec(settings, metric="loss"), real, final=False, seed=0)
    assert found.sampling == {"noise": 0.0}


def test_every_setting_sees_the_same_noise(model: Replay, real: ImageData) -> None:
    settings: Settings = ({"noise": 0.1}, {"noise": 0.1})
    first, second = evaluate(model, model.network, spec(settings), real, final=False, seed=0).curve
    assert first == second


def test_model_without_sampling_parameters_has_no_curve(model: Replay, real: ImageData) -> None:
    found = evaluate(model, model.network, spec(), real, final=False, seed=0)
    assert found.sampling == {}
    assert found.curve == []


def test_final_draws_the_final_settings_and_number(model: Replay, real: ImageData) -> None:
    evaluate(model, model.network, spec(({"noise": 1.0},)), real, final=True, seed=0)
    assert model.asked == [(256, 7), (256, 7), (88, 7)]


def test_numbers_follow_the_seed_alone(model: Replay, real: ImageData) -> None:
    def numbers(seed: int) -> dict[str, float]:
        torch.rand(1)
        found = evaluate(model, model.network, spec(({"noise": 0.1},)), real, final=False, seed=seed).metrics
        return {name: value for name, value in found.items() if name != "evaluation_seconds"}

    assert numbers(1) == numbers(1)
    assert numbers(1) != numbers(2)


def test_setting_with_a_sample_that_is_no_number_is_skipped_and_said(
    model: Replay, real: ImageData, caplog: pytest.LogCaptureFixture
) -> None:
    settings: Settings = ({"broken": 3}, {"noise": 0.1})
    found = evaluate(model, model.network, spec(settings, samples=200), real, final=False, seed=0)
    assert found.sampling == {"noise": 0.1}
    assert isinf(float(found.curve[0]["kid"]))
    assert isfinite(found.metrics["kid"])
    assert found.metrics["nonfinite"] == 3 / 400
    assert "3 of 200 samples are not finite; setting {'broken': 3} is skipped" in caplog.text


def test_trial_ends_when_no_setting_gives_numbers(model: Replay, real: ImageData) -> None:
    with pytest.raises(NonFiniteError, match="none of 2 sampling settings gave finite images"):
        evaluate(model, model.network, spec(({"broken": 1}, {"broken": 9})), real, final=False, seed=0)


def test_trial_ends_when_a_weight_is_no_number(model: Replay, real: ImageData) -> None:
    nn.init.constant_(model.network.bias, nan)  # type: ignore[arg-type]
    with pytest.raises(NonFiniteError, match="weight bias is no longer finite"):
        evaluate(model, model.network, spec(), real, final=False, seed=0)


def test_trial_ends_when_a_held_out_loss_is_no_number(model: Replay, real: ImageData) -> None:
    model.judge = lambda *_: Judgement({"loss": inf}, [])  # type: ignore[method-assign]
    with pytest.raises(NonFiniteError, match="held-out loss is"):
        evaluate(model, model.network, spec(), real, final=False, seed=0)


def test_the_model_judges_the_same_held_out_images_whatever_the_seed(model: Replay, real: ImageData) -> None:
    first, second = (evaluate(model, model.network, spec(), real, final=False, seed=seed) for seed in (1, 2))
    assert first.metrics["bpd"] == second.metrics["bpd"]  # paired: the noise is that of the sweep, not of the trial
    assert first.levels == second.levels == [{"sigma": 1.0, "loss": 1024.0}]


def test_pictures_are_the_best_samples_and_the_models_own(model: Replay, real: ImageData) -> None:
    found = evaluate(model, model.network, spec(), real, final=False, seed=0)
    assert set(found.pictures) == {"samples", "reconstructions"}
    cell = 64 + 2
    assert opened(found.pictures["samples"]).size == (8 * cell + 2, 8 * cell + 2)
    assert opened(found.pictures["reconstructions"]).size == (3 * cell + 2, 2 * cell + 2)


@pytest.mark.parametrize(
    ("side", "scale", "cell"), [(16, None, 64), (32, None, 64), (24, None, 72), (100, None, 100), (16, 2, 32)]
)
def test_picture_enlarges_each_pixel_to_a_square(side: int, scale: int | None, cell: int) -> None:
    images = torch.rand(2, 3, side, side)
    pixels = np.asarray(opened(png(images, 2, scale)))
    assert pixels.shape == (cell + 4, 2 * (cell + 2) + 2, 3)
    first = pixels[2 : 2 + cell, 2 : 2 + cell].reshape(side, cell // side, side, cell // side, 3)
    assert (first == first[:, :1, :, :1]).all()
    assert np.abs(first[:, 0, :, 0] / 255.0 - images[0].permute(1, 2, 0).numpy()).max() < 0.003


def test_picture_clamps_and_shows_what_is_no_number_as_black() -> None:
    images = torch.stack([torch.full((3, 16, 16), value) for value in (-1.0, 2.0, nan)])
    pixels = np.asarray(opened(png(images, 3, 1)))
    assert [int(pixels[8, 2 + 18 * i + 8, 0]) for i in range(3)] == [0, 255, 0]


def test_picture_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="needs an image"):
        png(torch.zeros(0, 3, 16, 16), 4)


def opened(content: bytes) -> Image.Image:
    return Image.open(BytesIO(content))
