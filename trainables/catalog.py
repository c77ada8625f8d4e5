"""The models, their parameters with bounds and defaults, and their metrics.

Torch is imported only when a run is built, so checking a configuration takes milliseconds. To add a model, add a folder
or file with its `Run` or `ImageModel`, and one entry here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from math import inf, isfinite

from trainables.contract import Run, RunSpec, Scalar


@dataclass(frozen=True)
class Parameter:
    """A parameter of a model."""

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
        """Return why `value` is refused, or None."""
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
    """A metric that a rung reports."""

    help: str
    warning: str = ""
    """Why a sweep on it may mislead; printed and recorded."""
    maximize: bool = False
    """Whether more of it is better."""
    data: str = ""
    """The only data set that has it; empty: every one."""
    chooses: bool = False
    """Whether the sampling setting of an evaluation can be chosen by it: it is one of the samples'."""


@dataclass(frozen=True)
class Model:
    """One entry of the catalog."""

    run: str
    """`module:function` that builds the Run from a RunSpec; imported only then."""
    parameters: Mapping[str, Parameter]
    metrics: Mapping[str, Metric]
    uses_images: bool = True
    descending: Sequence[tuple[str, str]] = ()
    """Pairs of parameters of which the first must be larger than the second."""
    version: int = 1
    """Raise this when the same RunSpec gives other numbers. Experiments of another version are not resumed."""


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
NOT_SAMPLES = "it says nothing of samples: {}"
OF_SAMPLES = {
    "kid": Metric("kernel inception distance of samples to held-out images (unbiased)", chooses=True),
    "kid_alt": Metric("the same on the other feature set", chooses=True),
    "fd": Metric(
        "Frechet distance of samples to held-out images",
        "it is biased by the number of samples, which may differ between rungs; kid is not.",
        chooses=True,
    ),
    "diversity": Metric(
        "mean distance of two samples over that of two real images",
        "1 is right, and noise has more: a sweep on it finds noise.",
        maximize=True,
    ),
}
COST = {
    "seconds": Metric("training and evaluation so far, on the machine's clock", NOT_SAMPLES.format("idle is best."))
}
BPD = Metric(
    "held-out bits a dimension, a bound on the likelihood of 8-bit images",
    NOT_SAMPLES.format("it is a guide to learning, and blind to the sampler."),
)
ALONE = "reconstruction alone is best where beta is lowest."
CODES = "it judges the code; take it beside kid."

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
        "sampler": Parameter(
            "langevin",
            "annealed Langevin dynamics, or the probability-flow ODE by Heun's method, which has no step to tune",
            choices=("langevin", "heun"),
            stage="sampling",
        ),
        "ladder": Parameter(
            "free",
            "Langevin's noise levels: as many as the nfe budget allows (free), the trained ones (own), or the trained "
            "ones with equal steps, which may leave half of the budget unused (uniform)",
            choices=("free", "own", "uniform"),
            stage="sampling",
        ),
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
            0,
            "Langevin steps at each trained level, whatever the nfe budget; 0 takes what the budget allows",
            low=0,
            high=100000,
            stage="sampling",
        ),
        "denoise": Parameter(True, "end with one denoising step", choices=(True, False), stage="sampling"),
        "init": Parameter(
            "data",
            "chains start from N(mean, (sigma_1^2 + s^2) I) of the data, or from N(0, I)",
            choices=("data", "standard"),
            stage="sampling",
        ),
    },
    metrics={
        **OF_SAMPLES,
        "bpd": BPD,
        "bpd_ct": Metric("bpd as if the noise levels were endless: compares networks whatever num_scales", BPD.warning),
        **COST,
        "loss": Metric("held-out denoising loss", LOSS_TRAP.format("the noise range")),
    },
    descending=(("sigma_begin", "sigma_end"),),
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
        **OF_SAMPLES,
        "bpd": BPD,
        **COST,
        "loss": Metric("held-out reconstruction + beta KL", LOSS_TRAP.format("beta")),
        "recon_mse": Metric("squared error of a pixel, reconstructions", NOT_SAMPLES.format(ALONE)),
        "psnr": Metric("the same in dB", NOT_SAMPLES.format(ALONE), maximize=True),
        "recon_loss": Metric("held-out reconstruction term", NOT_SAMPLES.format(ALONE)),
        "kl": Metric("KL of code and prior in nats", NOT_SAMPLES.format("a code that tells nothing is best.")),
        "active_units": Metric("latent dimensions in use", NOT_SAMPLES.format("more is not better."), maximize=True),
        "mig": Metric(
            "mutual information gap",
            "a code that has nearly collapsed can have a high one.",
            maximize=True,
            data="shapes",
        ),
        "factorvae": Metric("FactorVAE score", NOT_SAMPLES.format(CODES), maximize=True, data="shapes"),
        "dci": Metric("DCI disentanglement", NOT_SAMPLES.format(CODES), maximize=True, data="shapes"),
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
PAIRS = (("kid", "recon_mse"), ("kid", "factorvae"), ("kid", "seconds"))
"""Objectives that pull against each other without being one curve by construction, as recon_mse and kl are."""
MODELS: Mapping[str, Model] = {"ncsn": NCSN, "beta_vae": BETA_VAE, "branin": BRANIN}


def sign(metric: str) -> int:
    """Return 1 if lower values of `metric` are better, -1 if higher ones are. This is the same for every model."""
    return -1 if any(metric in model.metrics and model.metrics[metric].maximize for model in MODELS.values()) else 1


def build(spec: RunSpec) -> Run:
    """Return the Run of a spec. Imports torch if the model needs it."""
    module, function = MODELS[spec.model].run.split(":")
    run: Run = getattr(import_module(module), function)(spec)
    return run
