"""Checks of a model against contract.py. `tune_app check-model` runs them on a user's model, the tests on our own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from math import inf, isfinite
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from trainables import checkpoint
from trainables.contract import Run, RunSpec, Scalar, named_losses
from trainables.model import Model
from trainables.precision import default_device
from trainables.training import ImageRun

STEPS, IMAGES = 3, 5
"""Steps of a training, and images of a batch or a sample."""
TOLERANCE = 1e-6
"""Largest relative difference of two numbers that must be equal. On a GPU sums may be taken in any order."""


class BrokenContractError(Exception):
    """The model does not do what contract.py asks for. The message says what it did."""


@dataclass(frozen=True)
class Subject:
    """The model to check."""

    entry: Model
    spec: RunSpec
    make: Callable[[RunSpec], Run]
    """Builds the run of a spec."""
    images: int
    """Training images of one step."""

    def run(self, seed: int = 0) -> Run:
        """Return a new run."""
        return self.make(replace(self.spec, seed=seed))

    def image_run(self) -> ImageRun:
        """Return a new run of a model of images."""
        run = self.run()
        if not isinstance(run, ImageRun):
            raise BrokenContractError("the run of a model of images must be an ImageRun, or derived from it")
        return run

    def settings(self) -> Iterator[Mapping[str, Scalar]]:
        """Yield the default sampling setting, and one for each choice of each sampling parameter."""
        parameters = {name: p for name, p in self.entry.parameters.items() if p.stage == "sampling"}
        usual = {name: p.default for name, p in parameters.items()}
        yield usual
        for name, parameter in parameters.items():
            for choice in parameter.choices:
                setting = {**usual, name: choice}
                if choice != parameter.default and self.entry.can_sample(self.spec.params, setting):
                    yield setting


Check = Callable[[Subject], None]
"""Raises BrokenContractError."""


def defaults_lie_inside_the_bounds(subject: Subject) -> None:
    """Check that each parameter accepts its own default."""
    for name, parameter in subject.entry.parameters.items():
        if complaint := parameter.complaint(parameter.default):
            raise BrokenContractError(f"the default of {name} is refused by its own bounds: it {complaint}")
        if parameter.stage not in ("training", "sampling"):
            raise BrokenContractError(f"the stage of {name} must be training or sampling, not {parameter.stage!r}")


def training_gives_finite_losses(subject: Subject) -> None:
    """Check that `train` returns finite numbers and names the trained loss `loss`."""
    losses = subject.run().train(subject.images * STEPS)
    if "loss" not in losses:
        raise BrokenContractError(f"train must return a `loss`; it returned {', '.join(losses) or 'nothing'}")
    _check_finite("train", losses)


def the_same_seed_gives_the_same_training(subject: Subject) -> None:
    """Check that two runs of one seed agree, whatever the process did in between, and another seed differs."""
    first = _trained(subject, seed=0)
    torch.manual_seed(12345)  # an earlier trial of the same process may leave anything behind
    torch.rand(7)
    same, other = _trained(subject, seed=0), _trained(subject, seed=1)
    if not _equal(first, same):
        raise BrokenContractError("two trainings with one seed differ: draw only from the generator given")
    if subject.entry.uses_images and _equal(first, other):
        raise BrokenContractError("two trainings with different seeds are the same")


def a_resumed_training_equals_an_unbroken_one(subject: Subject) -> None:
    """Check that the state holds everything: a training that is saved, built anew and loaded goes on the same."""
    unbroken, saved, resumed = subject.run(), subject.run(), subject.run()
    unbroken.train(subject.images * STEPS)
    saved.train(subject.images * STEPS)
    with TemporaryDirectory() as folder:
        try:
            checkpoint.write(Path(folder) / "checkpoint", saved.state(), {})
            state, _ = checkpoint.read(Path(folder) / "checkpoint")
        except checkpoint.CheckpointError as error:
            raise BrokenContractError(f"state must hold tensors and plain data only: {error}") from error
    resumed.load_state(state)
    losses = [run.train(subject.images * STEPS) for run in (unbroken, resumed)]
    if not _equal(losses[0], losses[1]) or not _equal(unbroken.state(), resumed.state()):
        raise BrokenContractError("a resumed training differs from an unbroken one: state leaves something out")


def an_evaluation_leaves_the_training_alone(subject: Subject) -> None:
    """Check that a training goes on after an evaluation as it would without."""
    plain, evaluated = subject.run(), subject.run()
    for run in (plain, evaluated):
        run.train(subject.images * STEPS)
    evaluated.evaluate(final=False)
    losses = [run.train(subject.images * STEPS) for run in (plain, evaluated)]
    if not _equal(losses[0], losses[1]) or not _equal(plain.state(), evaluated.state()):
        raise BrokenContractError("the training goes on differently after an evaluation")


def an_evaluation_reports_the_declared_metrics(subject: Subject) -> None:
    """Check that the metrics of an evaluation are finite, and that every metric of the catalog is among them."""
    run = subject.run()
    run.train(subject.images * STEPS)
    metrics = run.evaluate(final=True).metrics
    _check_finite("evaluate", metrics)
    elsewhere = {"seconds", "kid_alt"}  # the trial adds the first, and the second needs labels
    data = {name for name, metric in subject.entry.metrics.items() if metric.data not in ("", subject.spec.data.name)}
    if missing := sorted(subject.entry.metrics.keys() - metrics.keys() - elsewhere - data):
        raise BrokenContractError(f"these metrics are declared but not reported: {', '.join(missing)}")


def losses_are_one_number_an_image(subject: Subject) -> None:
    """Check shape, type and randomness of the losses, and that every weight is trained."""
    run = subject.image_run()
    model, network = run.model, run.network.train()
    x = torch.rand(IMAGES, *run.data.facts.shape, device=run.device)
    losses = named_losses(model.loss(network, x, inf, _seeded(0)))
    for name, loss in losses.items():
        if loss.shape != (IMAGES,) or not loss.is_floating_point() or not bool(loss.isfinite().all()):
            given = f"{tuple(loss.shape)} of {loss.dtype}"
            raise BrokenContractError(f"{name} must be one finite number for each of {IMAGES} images, not {given}")
    if "loss" not in losses:
        raise BrokenContractError(f"the losses must include `loss`; they are {', '.join(losses)}")
    again = named_losses(model.loss(network, x, inf, _seeded(0)))
    if subject.entry.run == "":  # the usual training
        if not _equal(losses, again) and not _has_dropout(network):
            raise BrokenContractError("the same generator gives other losses: draw every random number from it")
        losses["loss"].mean().backward()  # type: ignore[no-untyped-call]
        idle = [name for name, weight in network.named_parameters() if weight.requires_grad and weight.grad is None]
        if idle:
            raise BrokenContractError(f"the loss does not depend on these weights: {', '.join(idle[:3])}")


def samples_are_images_and_follow_the_generator(subject: Subject) -> None:
    """Check shape and randomness of samples, and that sampling changes neither weights nor global randomness."""
    run = subject.image_run()
    network, randomness = run.network.eval(), torch.get_rng_state()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    shape = (IMAGES, *run.data.facts.shape)
    for setting in subject.settings():
        sample = partial(run.model.sample, network, IMAGES, setting, subject.spec.nfe)
        with torch.inference_mode():
            first, same, other = (sample(_seeded(seed)) for seed in (0, 0, 1))
        if first.shape != shape or not bool(first.isfinite().all()):
            given = f"{tuple(first.shape)}, finite: {bool(first.isfinite().all())}"
            raise BrokenContractError(
                f"sample must return finite images of shape {shape}, not {given} ({dict(setting)})"
            )
        if not _equal(first, same) or torch.equal(first, other):
            raise BrokenContractError(f"samples do not follow their generator ({dict(setting)})")
    if not _equal(before, network.state_dict()):
        raise BrokenContractError("sampling changes the weights or buffers of the network")
    if not torch.equal(randomness, torch.get_rng_state()):
        raise BrokenContractError("sampling draws from the global generator: pass generator=generator to every draw")


def sampling_keeps_its_budget(subject: Subject) -> None:
    """Check that an image costs at most `nfe` network evaluations."""
    run = subject.image_run()
    network = run.network.eval()
    for setting in subject.settings():
        for budget in (1, 2, 7):
            with torch.inference_mode(), _counted(network) as count:
                run.model.sample(network, IMAGES, setting, budget, _seeded(0))
            used = count() / IMAGES
            if used > budget:
                raise BrokenContractError(
                    f"an image takes {used:g} network evaluations, and nfe allows {budget} ({dict(setting)})"
                )


def descriptions_are_plain(subject: Subject) -> None:
    """Check that `settled` returns plain values and that pictures fill their rows."""
    run = subject.image_run()
    for setting in subject.settings():
        for name, value in run.model.settled(setting, subject.spec.nfe).items():
            if not isinstance(value, bool | int | float | str):
                raise BrokenContractError(
                    f"settled: {name} must be a number, a string or a truth value, not {value!r:.60}"
                )
    x = torch.rand(IMAGES, *run.data.facts.shape, device=run.device)
    with torch.inference_mode():
        pictures = run.model.pictures(run.network.eval(), x, _seeded(0))
    for name, grid in pictures.items():
        if grid.images.shape[1:] != x.shape[1:] or len(grid.images) % grid.columns:
            raise BrokenContractError(f"picture {name} must have whole rows of images of shape {tuple(x.shape[1:])}")
        if not 0 <= float(grid.images.min()) <= float(grid.images.max()) <= 1:
            raise BrokenContractError(f"picture {name} has values outside [0, 1]")


OF_RUNS: tuple[Check, ...] = (
    defaults_lie_inside_the_bounds,
    training_gives_finite_losses,
    the_same_seed_gives_the_same_training,
    a_resumed_training_equals_an_unbroken_one,
    an_evaluation_leaves_the_training_alone,
    an_evaluation_reports_the_declared_metrics,
)
OF_IMAGES: tuple[Check, ...] = (
    losses_are_one_number_an_image,
    samples_are_images_and_follow_the_generator,
    sampling_keeps_its_budget,
    descriptions_are_plain,
)


def checks(entry: Model) -> tuple[Check, ...]:
    """Return the checks that apply to a model."""
    return OF_RUNS + OF_IMAGES if entry.uses_images else OF_RUNS


def _trained(subject: Subject, seed: int) -> dict[str, Any]:
    run = subject.run(seed)
    losses = run.train(subject.images * STEPS)
    return {"losses": losses, "state": run.state()}


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator(default_device()).manual_seed(seed)


def _check_finite(what: str, numbers: Mapping[str, float]) -> None:
    for name, value in numbers.items():
        if not isinstance(value, int | float) or not isfinite(value):
            raise BrokenContractError(f"{what}: {name} must be a finite number, not {value!r:.60}")


def _equal(one: Any, other: Any) -> bool:
    """Return True if two states are equal, on a GPU up to TOLERANCE."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        if default_device().type == "cpu" or not one.is_floating_point():
            return torch.equal(one, other)
        return one.shape == other.shape and torch.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_equal(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)


def _has_dropout(network: nn.Module) -> bool:
    return any(isinstance(module, nn.Dropout | nn.Dropout2d) and module.p > 0 for module in network.modules())


@contextmanager
def _counted(network: nn.Module) -> Iterator[Callable[[], int]]:
    """Count the images that pass through the network or, if it is never called itself, through its busiest part."""
    images: dict[str, int] = {}

    def hook(name: str) -> Callable[..., None]:
        def count(_module: nn.Module, inputs: tuple[Any, ...], _output: Any) -> None:
            first = next((value for value in inputs if isinstance(value, Tensor)), None)
            images[name] = images.get(name, 0) + (0 if first is None else len(first))

        return count

    parts = {"": network, **dict(network.named_children())}
    hooks = [module.register_forward_hook(hook(name)) for name, module in parts.items()]
    try:
        yield lambda: images.get("") or max(images.values(), default=0)
    finally:
        for one in hooks:
            one.remove()
