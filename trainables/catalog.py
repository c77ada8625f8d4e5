"""The names: models, their parameters with bounds and defaults, their metrics.

Torch-free until a run is built, so that a configuration is checked in milliseconds. To add a model: a folder (or file)
that holds its `Run` or `ImageModel`, and one entry here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from math import inf, isfinite

from trainables.model import Run, RunSpec, Scalar


@dataclass(frozen=True)
class Parameter:
    """What a model takes under one name."""

    default: Scalar
    help: str
    low: float = -inf
    high: float = inf
    above: float = -inf
    """Exclusive lower bound."""
    choices: tuple[Scalar, ...] = ()
    stage: str = "training"
    """`sampling`: never touches the weights, so it may be searched inside a rung's evaluation."""

    def complaint(self, value: Scalar) -> str | None:
        """Why `value` is not taken, or None."""
        if self.choices:
            return None if value in self.choices else f"must be one of {', '.join(map(str, self.choices))}, not {value}"
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            return f"must be a number, not {value!r}"
        if isinstance(self.default, int) and value != int(value):
            return f"must be a whole number, not {value:g}"
        if value <= self.above:
            return f"must be above {self.above:g}, not {value:g}"
        if not self.low <= value <= self.high:
            return f"must lie in [{self.low:g}, {self.high:g}], not {value:g}"
        return None


@dataclass(frozen=True)
class Metric:
    """A number that a rung reports; all are minimised."""

    help: str
    warning: str = ""
    """Why a sweep on it may mislead; printed and recorded."""


@dataclass(frozen=True)
class Model:
    """One entry of the catalog."""

    run: str
    """`module:function` that builds the Run from a RunSpec; imported only then."""
    parameters: Mapping[str, Parameter]
    metrics: Mapping[str, Metric]
    uses_images: bool = True


TRAINING = {
    "lr": Parameter(1e-3, "Adam's learning rate", above=0, high=1),
    "batch_size": Parameter(128, "images a step", low=2, high=8192),
    "ema": Parameter(
        0.999, "decay of the averaged weights that are evaluated; 0 evaluates the raw ones", low=0, high=0.99999
    ),
    "ema_warmup": Parameter(True, "decay min(ema, (1 + t) / (10 + t)) at step t", choices=(True, False)),
    "clip": Parameter(1.0, "largest gradient norm; 0 does not clip", low=0),
}
LOSS_TRAP = "a training loss falls with {} by construction; trials do not compare by it. Sweep on `kid`."
KID = Metric("kernel inception distance of samples to held-out images on weight-free features (unbiased)")

NCSN = Model(
    run="trainables.ncsn.task:build",
    parameters={
        **TRAINING,
        "sigma_begin": Parameter(1.0, "largest noise level, images in [0, 1]", above=0, high=1000),
        "sigma_end": Parameter(0.01, "smallest noise level", above=0, high=1000),
        "num_scales": Parameter(50, "noise levels, geometric", low=1, high=10000),
        "arch": Parameter("unet", "network", choices=("unet", "refinenet")),
        "width": Parameter(128, "channels of the first stage", low=4, high=1024),
        "groups": Parameter(
            32, "groups of the U-Net's GroupNorm, lowered to a divisor of the channels", low=1, high=1024
        ),
        "conditioning": Parameter(
            "log_sigma", "what the network is told of the noise level", choices=("log_sigma", "sigma")
        ),
        "input_scaling": Parameter(True, "scale input and output by the noise level", choices=(True, False)),
        "mean_loss": Parameter(True, "divide the loss by its dimension before clipping", choices=(True, False)),
        "step_size": Parameter(
            5.0, "Langevin step as relax, -T ln(1 - eta) / ln(gamma)", above=0, high=1000, stage="sampling"
        ),
        "step_lr": Parameter(
            0.0,
            "raw Langevin step, x += a s + sqrt(2a) z at the last level; 0 takes step_size",
            low=0,
            high=10,
            stage="sampling",
        ),
        "steps_per_level": Parameter(
            0, "Langevin steps a level; 0 takes what the nfe budget allows", low=0, high=100000, stage="sampling"
        ),
        "denoise": Parameter(True, "end with one denoising step", choices=(True, False), stage="sampling"),
        "init": Parameter(
            "data",
            "chains start from N(mean, (sigma_1^2 + s^2) I) of the data, or from N(0, I)",
            choices=("data", "standard"),
            stage="sampling",
        ),
    },
    metrics={"kid": KID, "loss": Metric("held-out denoising loss", LOSS_TRAP.format("the noise range"))},
)
BETA_VAE = Model(
    run="trainables.beta_vae.task:build",
    parameters={
        **TRAINING,
        "lr": Parameter(1e-4, "Adam's learning rate", above=0, high=1),
        "ema": Parameter(0.0, TRAINING["ema"].help, low=0, high=0.99999),
        "clip": Parameter(0.0, TRAINING["clip"].help, low=0),
        "beta": Parameter(1.0, "weight of the KL term against the summed squared error", low=0, high=1e6),
        "latent_dim": Parameter(128, "latent dimensions", low=1, high=4096),
        "width": Parameter(64, "channels of the first stage", low=4, high=1024),
        "likelihood": Parameter(
            "gaussian", "reconstruction term: summed squared error or cross entropy", choices=("gaussian", "bernoulli")
        ),
        "kl_warmup_kimg": Parameter(0.0, "the KL weight rises linearly to beta over so many kimg", low=0),
    },
    metrics={
        "kid": KID,
        "loss": Metric("held-out reconstruction + beta KL", LOSS_TRAP.format("beta")),
        "recon_loss": Metric(
            "held-out reconstruction term", "reconstruction alone falls with beta and says nothing of samples."
        ),
    },
)
BRANIN = Model(
    run="trainables.branin:build",
    parameters={
        "x1": Parameter(0.0, "first coordinate", low=-5, high=10),
        "x2": Parameter(5.0, "second coordinate", low=0, high=15),
        "bias": Parameter(30.0, "height of the bias that falls to 0 at max_kimg", low=0, high=1e6),
        "step_seconds": Parameter(0.0, "pretended work a report, in seconds", low=0, high=3600),
    },
    metrics={"value": Metric("Branin plus the bias of its fidelity")},
    uses_images=False,
)
MODELS: Mapping[str, Model] = {"ncsn": NCSN, "beta_vae": BETA_VAE, "branin": BRANIN}


def build(spec: RunSpec) -> Run:
    """The Run of a spec; imports torch where the model needs it."""
    module, function = MODELS[spec.model].run.split(":")
    run: Run = getattr(import_module(module), function)(spec)
    return run
