"""Every model keeps the contract, and each check of the contract finds a model that breaks it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.trainables.tiny import SMALL, tiny_data, tiny_run, tiny_spec
from trainables import branin, contract_checks
from trainables.catalog import MODELS
from trainables.contract import Evaluation, Grid, ImageModel, Run, RunSpec, Scalar
from trainables.contract_checks import BrokenContractError, Check, Subject
from trainables.plugin import Metric, Parameter, image_model
from trainables.training import ImageRun

BUDGET = {"samples": 16, "final_samples": 16, "nfe": 6}


def subject_of(kind: str) -> Subject:
    spec = tiny_spec(kind)
    entry = MODELS[spec.model]
    sampling = {name: p.default for name, p in entry.parameters.items() if p.stage == "sampling"}
    spec = replace(spec, **BUDGET, sampling=(sampling,), final_sampling=(sampling,))
    params = {name: p.default for name, p in entry.parameters.items() if p.stage == "training"}

    def make(spec: RunSpec) -> Run:
        run = tiny_run(kind, seed=spec.seed)
        run.spec = replace(spec, params={**params, **SMALL[kind]})
        return run

    return Subject(entry, replace(spec, params={**params, **SMALL[kind]}), make, images=8)


@pytest.mark.parametrize("kind", ["ncsn", "beta_vae"])
@pytest.mark.parametrize("check", contract_checks.OF_RUNS)
def test_the_runs_of_our_models_of_images_keep_the_contract(kind: str, check: Check) -> None:
    check(subject_of(kind))


@pytest.mark.parametrize("kind", list(SMALL))
@pytest.mark.parametrize("check", contract_checks.OF_IMAGES)
def test_our_models_of_images_keep_the_contract(kind: str, check: Check) -> None:
    check(subject_of(kind))


@pytest.mark.parametrize("check", contract_checks.OF_RUNS)
def test_branin_keeps_the_contract(check: Check) -> None:
    entry = MODELS["branin"]
    spec = RunSpec("branin", {name: p.default for name, p in entry.parameters.items()}, seed=0)
    check(Subject(entry, spec, branin.Branin, images=8))


class Shift(ImageModel):
    """A model that keeps the contract: it draws noise around a learnt mean. Its variants break one rule each."""

    def __init__(self) -> None:
        self.network: nn.Module = nn.Conv2d(3, 3, 1)

    def loss(self, network: nn.Module, x: Tensor, kimg: float, generator: torch.Generator) -> Tensor:
        return (network(x + torch.randn(x.shape, generator=generator)) - x).square().flatten(1).mean(1)

    def sample(
        self, network: nn.Module, count: int, sampling: Mapping[str, Scalar], nfe: int, generator: torch.Generator
    ) -> Tensor:
        return network(torch.rand(count, 3, 16, 16, generator=generator))  # type: ignore[no-any-return]


class GlobalLoss(Shift):
    def loss(self, network: nn.Module, x: Tensor, kimg: float, generator: torch.Generator) -> Tensor:
        return (network(x + torch.randn(x.shape)) - x).square().flatten(1).mean(1)


class MeanLoss(Shift):
    def loss(self, network: nn.Module, x: Tensor, kimg: float, generator: torch.Generator) -> Tensor:
        return super().loss(network, x, kimg, generator).mean()


class NanLoss(Shift):
    def loss(self, network: nn.Module, x: Tensor, kimg: float, generator: torch.Generator) -> Tensor:
        return super().loss(network, x, kimg, generator) * float("nan")


class IdleWeight(Shift):
    def __init__(self) -> None:
        super().__init__()
        self.network.register_parameter("idle", nn.Parameter(torch.zeros(3)))


class GlobalSample(Shift):
    def sample(
        self, network: nn.Module, count: int, sampling: Mapping[str, Scalar], nfe: int, generator: torch.Generator
    ) -> Tensor:
        return network(torch.rand(count, 3, 16, 16))  # type: ignore[no-any-return]


class SmallSample(Shift):
    def sample(
        self, network: nn.Module, count: int, sampling: Mapping[str, Scalar], nfe: int, generator: torch.Generator
    ) -> Tensor:
        return super().sample(network, count, sampling, nfe, generator)[:, :, ::2]


class ChangingSample(Shift):
    def __init__(self) -> None:
        super().__init__()
        self.network.register_buffer("calls", torch.zeros(1))

    def sample(
        self, network: nn.Module, count: int, sampling: Mapping[str, Scalar], nfe: int, generator: torch.Generator
    ) -> Tensor:
        network.get_buffer("calls").add_(1)
        return super().sample(network, count, sampling, nfe, generator)


class CostlySample(Shift):
    def sample(
        self, network: nn.Module, count: int, sampling: Mapping[str, Scalar], nfe: int, generator: torch.Generator
    ) -> Tensor:
        images = super().sample(network, count, sampling, nfe, generator)
        for _ in range(nfe):
            images = network(images)
        return images


class TensorSetting(Shift):
    def settled(self, sampling: Mapping[str, Scalar], nfe: int) -> dict[str, Scalar]:
        return {"step": torch.ones(1)}  # type: ignore[dict-item]


class RaggedPicture(Shift):
    def pictures(self, network: nn.Module, x: Tensor, generator: torch.Generator) -> dict[str, Grid]:
        return {"odd": Grid(x, columns=4)}


class ForgetfulRun(ImageRun):
    """A run that counts its steps but does not save the count."""

    steps = 0

    def step(self, x: Tensor) -> dict[str, Tensor]:
        self.steps += 1
        return {name: loss + self.steps for name, loss in super().step(x).items()}


class DisturbedRun(ImageRun):
    """A run whose evaluation uses up the noise of its training."""

    def evaluate(self, **options: Any) -> Evaluation:  # type: ignore[override]
        torch.rand(1, generator=self.noise)
        return super().evaluate(**options)


class Pickled:
    """Something that no checkpoint may hold."""


class PicklingRun(ImageRun):
    def state(self) -> dict[str, Any]:
        return {**super().state(), "extra": Pickled()}


def broken(
    model: type[Shift] = Shift,
    run: type[ImageRun] = ImageRun,
    parameters: Mapping[str, Parameter] | None = None,
    metrics: Mapping[str, Metric] | None = None,
) -> Subject:
    entry = image_model(lambda _params, _images: model(), parameters or {}, metrics=metrics)
    params = {**{name: p.default for name, p in entry.parameters.items()}, "batch_size": 8, "ema": 0.0}
    spec = RunSpec("ncsn", params, seed=0, **BUDGET)

    def make(spec: RunSpec) -> Run:
        with torch.random.fork_rng():
            torch.manual_seed(spec.seed)
            built = model()
        return run(spec, built, tiny_data(), torch.device("cpu"))

    return Subject(entry, spec, make, images=8)


@pytest.mark.parametrize("check", contract_checks.OF_RUNS + contract_checks.OF_IMAGES)
def test_the_smallest_model_keeps_the_contract(check: Check) -> None:
    check(broken())


@pytest.mark.parametrize(
    ("subject", "check", "words"),
    [
        (lambda: broken(GlobalLoss), contract_checks.the_same_seed_gives_the_same_training, "draw only from"),
        (lambda: broken(GlobalLoss), contract_checks.losses_are_one_number_an_image, "gives other losses"),
        (lambda: broken(MeanLoss), contract_checks.losses_are_one_number_an_image, r"not \(\)"),
        (lambda: broken(NanLoss), contract_checks.losses_are_one_number_an_image, "finite"),
        (lambda: broken(IdleWeight), contract_checks.losses_are_one_number_an_image, "these weights: idle"),
        (lambda: broken(GlobalSample), contract_checks.samples_are_images_and_follow_the_generator, "generator"),
        (lambda: broken(SmallSample), contract_checks.samples_are_images_and_follow_the_generator, "16, 16"),
        (lambda: broken(ChangingSample), contract_checks.samples_are_images_and_follow_the_generator, "changes the w"),
        (lambda: broken(CostlySample), contract_checks.sampling_keeps_its_budget, "takes 2 network evaluations"),
        (lambda: broken(TensorSetting), contract_checks.descriptions_are_plain, "settled: step"),
        (lambda: broken(RaggedPicture), contract_checks.descriptions_are_plain, "whole rows"),
        (lambda: broken(run=ForgetfulRun), contract_checks.a_resumed_training_equals_an_unbroken_one, "leaves somethi"),
        (lambda: broken(run=PicklingRun), contract_checks.a_resumed_training_equals_an_unbroken_one, "plain data"),
        (lambda: broken(run=DisturbedRun), contract_checks.an_evaluation_leaves_the_training_alone, "differently"),
        (
            lambda: broken(parameters={"width": Parameter(1, "", low=2)}),
            contract_checks.defaults_lie_inside_the_bounds,
            "default of width",
        ),
        (
            lambda: broken(metrics={"missing": Metric("")}),
            contract_checks.an_evaluation_reports_the_declared_metrics,
            "declared but not reported: missing",
        ),
    ],
)
def test_a_check_finds_the_model_that_breaks_it(subject: Callable[[], Subject], check: Check, words: str) -> None:
    with pytest.raises(BrokenContractError, match=words):
        check(subject())
