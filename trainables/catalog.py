"""The models, their parameters with bounds and defaults, and their metrics.

Torch is imported only when a run is built, so checking a configuration takes milliseconds. To add a model, add a folder
or file with its `Run` or `ImageModel`, and one entry here.
"""

from collections.abc import Callable, Mapping, Sequence
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
    before: Scalar | None = None
    """Value in experiments that started before this parameter existed. None if it has always existed."""
    stage: str = "training"
    """`training` or `sampling`. A sampling parameter leaves the weights alone, so a rung's evaluation can search it."""

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
    """Reason why a sweep on this metric may mislead. It is printed and recorded."""
    maximize: bool = False
    """True if higher values are better."""
    data: str = ""
    """The only data set that has this metric; empty if every data set has it."""
    chooses: bool = False
    """True if the metric depends on the samples, so it can pick the best sampling setting."""


def always(_params: Mapping[str, Scalar], _sampling: Mapping[str, Scalar]) -> bool:
    """Return True: every network can be sampled with every setting."""
    return True


@dataclass(frozen=True)
class Model:
    """One entry of the catalog."""

    run: str
    """`module:function` that builds the Run from a RunSpec; imported only then."""
    parameters: Mapping[str, Parameter]
    metrics: Mapping[str, Metric]
    uses_images: bool = True
    side_multiple: int = 1
    """The side of an image must be a multiple of this number of pixels."""
    descending: Sequence[tuple[str, str]] = ()
    """Pairs of parameters. The first of a pair must be larger than the second."""
    can_sample: Callable[[Mapping[str, Scalar], Mapping[str, Scalar]], bool] = always
    """Return True if a network of these training parameters can be sampled with this setting."""
    version: int = 1
    """Raise this when the same RunSpec gives other numbers. Experiments of another version are not resumed."""


NETWORK = Parameter(
    2,
    "2: the layers of the reference project; 1: those of version 0.1, kept so that old experiments resume",
    low=1,
    high=2,
    before=1,
)
TRAINING = {
    "lr": Parameter(1e-3, "Adam's learning rate", above=0, high=1),
    "batch_size": Parameter(128, "images per step", low=2, high=8192),
    "ema": Parameter(
        0.999, "decay of the averaged weights, which are evaluated; 0 evaluates the raw weights", low=0, high=0.99999
    ),
    "ema_warmup": Parameter(True, "decay min(ema, (1 + t) / (10 + t)) at step t", choices=(True, False)),
    "clip": Parameter(1.0, "largest gradient norm; 0 does not clip", low=0),
    "flip": Parameter(
        False,
        "flip half of the training images from left to right; auto: photographs are flipped, shapes are not",
        choices=("auto", True, False),
    ),
    "lr_warmup_kimg": Parameter(0.0, "kimg over which the learning rate rises linearly to lr", low=0),
    "lr_decay": Parameter(
        "none",
        "cosine lets the learning rate fall to 0 at max_kimg, so an early rung sees a network that is not yet settled",
        choices=("none", "cosine"),
    ),
    "weight_decay": Parameter(0.0, "Adam's weight decay, added to the gradient", low=0, high=1),
    "adam_beta1": Parameter(0.9, "Adam's decay of the mean gradient", low=0, high=0.9999),
    "adam_beta2": Parameter(0.999, "Adam's decay of the mean squared gradient", low=0, high=0.999999),
}
LOSS_TRAP = "a training loss falls with {} by construction; trials do not compare by it. Sweep on `kid`."
NOT_SAMPLES = "it says nothing about the samples: {}"
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
        "the right value is 1. Noise has a higher value, so a sweep on it finds noise.",
        maximize=True,
    ),
}
COST = {
    "seconds": Metric(
        "training and evaluation so far, on the machine's clock",
        NOT_SAMPLES.format("a trial that does nothing is best."),
    )
}
BPD = Metric(
    "held-out bits per dimension, a bound on the likelihood of 8-bit images",
    NOT_SAMPLES.format("it shows how well a network learns, and does not depend on the sampler."),
)
ALONE = "reconstruction is best where beta is lowest."
CODES = "it judges the code. Use it together with kid."


def takes_any_level(params: Mapping[str, Scalar]) -> bool:
    """Return True if an NCSN takes noise levels other than those it was trained on."""
    return params["arch"] != "refinenet" and params["conditioning"] == "log_sigma"


def _can_sample(params: Mapping[str, Scalar], sampling: Mapping[str, Scalar]) -> bool:
    """Return True unless Heun's method, which chooses its own noise levels, meets a network that knows only its own."""
    return sampling.get("sampler") != "heun" or takes_any_level(params)


NCSN = Model(
    run="trainables.ncsn.task:build",
    side_multiple=8,
    can_sample=_can_sample,
    parameters={
        **TRAINING,
        "sigma_begin": Parameter(1.0, "largest noise level, images in [0, 1]", above=0, high=1000),
        "sigma_end": Parameter(0.01, "smallest noise level", above=0, high=1000),
        "num_scales": Parameter(50, "number of noise levels, in a geometric sequence", low=1, high=10000),
        "network": NETWORK,
        "flip": Parameter("auto", TRAINING["flip"].help, choices=("auto", True, False), before=False),
        "arch": Parameter(
            "unet",
            "network: that of the reference project, a larger residual one with attention, or that of NCSN's authors",
            choices=("unet", "resunet", "refinenet"),
        ),
        "dropout": Parameter(0.0, "share of the features that a unet or resunet drops in training", low=0, high=0.9),
        "weighting": Parameter(
            "sigma2",
            "weight of the noise levels in the loss: sigma^2, or that of EDM, which weighs large levels more",
            choices=("sigma2", "edm"),
        ),
        "width": Parameter(128, "channels of the first stage", low=4, high=1024),
        "groups": Parameter(
            32, "groups of the U-Net's GroupNorm, lowered to a divisor of the channels", low=1, high=1024
        ),
        "conditioning": Parameter(
            "log_sigma", "form in which the network gets the noise level", choices=("log_sigma", "sigma")
        ),
        "input_scaling": Parameter(True, "scale input and output by the noise level", choices=(True, False)),
        "mean_loss": Parameter(True, "divide the loss by its dimension before clipping", choices=(True, False)),
        "sampler": Parameter(
            "langevin",
            "annealed Langevin dynamics, or the probability-flow ODE by Heun's method, which has no step to tune",
            choices=("langevin", "heun"),
            before="langevin",
            stage="sampling",
        ),
        "ladder": Parameter(
            "free",
            "Langevin's noise levels: as many as the nfe budget allows (free), the trained ones (own), or the trained "
            "ones with equal steps, which may leave half of the budget unused (uniform)",
            choices=("free", "own", "uniform"),
            before="uniform",
            stage="sampling",
        ),
        "step_size": Parameter(
            5.0, "Langevin step as relax, -T ln(1 - eta) / ln(gamma)", above=0, high=1000, stage="sampling"
        ),
        "step_lr": Parameter(
            0.0,
            "raw Langevin step, x += a s + sqrt(2a) z at the last level; 0 uses step_size",
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
            "chains start from N(mean, (sigma_1^2 + s^2) I) of the data, from N(0, I), or uniformly in [0, 1]",
            choices=("data", "standard", "uniform"),
            stage="sampling",
        ),
    },
    metrics={
        **OF_SAMPLES,
        "bpd": BPD,
        "bpd_ct": Metric("bpd in the limit of many noise levels: compares networks with any num_scales", BPD.warning),
        **COST,
        "loss": Metric("held-out denoising loss", LOSS_TRAP.format("the noise range")),
    },
    descending=(("sigma_begin", "sigma_end"),),
)
BETA_VAE = Model(
    run="trainables.beta_vae.task:build",
    side_multiple=16,
    parameters={
        **TRAINING,
        "lr": Parameter(1e-4, "Adam's learning rate", above=0, high=1),
        "ema": Parameter(0.0, TRAINING["ema"].help, low=0, high=0.99999),
        "clip": Parameter(0.0, TRAINING["clip"].help, low=0),
        "beta": Parameter(1.0, "weight of the KL term against the summed squared error", low=0, high=1e6),
        "network": NETWORK,
        "latent_dim": Parameter(128, "latent dimensions", low=1, high=4096),
        "width": Parameter(64, "channels of the first stage", low=4, high=1024),
        "likelihood": Parameter(
            "gaussian", "reconstruction term: summed squared error or cross entropy", choices=("gaussian", "bernoulli")
        ),
        "bound": Parameter(
            "elbo",
            "bound on the likelihood that is trained: the ELBO, or IWAE's with k importance samples",
            choices=("elbo", "iwae"),
        ),
        "k": Parameter(
            5, "importance samples of an image, for bound iwae; each costs a pass of the decoder", low=1, high=500
        ),
        "kl_warmup_kimg": Parameter(0.0, "kimg over which the KL weight rises linearly to beta", low=0),
    },
    metrics={
        **OF_SAMPLES,
        "bpd": BPD,
        **COST,
        "loss": Metric("held-out reconstruction + beta KL", LOSS_TRAP.format("beta")),
        "recon_mse": Metric("mean squared error per pixel of reconstructions", NOT_SAMPLES.format(ALONE)),
        "psnr": Metric("PSNR of reconstructions in dB", NOT_SAMPLES.format(ALONE), maximize=True),
        "recon_loss": Metric("held-out reconstruction term", NOT_SAMPLES.format(ALONE)),
        "kl": Metric(
            "KL of code and prior in nats", NOT_SAMPLES.format("it is lowest for a code that carries no information.")
        ),
        "active_units": Metric("latent dimensions in use", NOT_SAMPLES.format("more is not better."), maximize=True),
        "mig": Metric(
            "mutual information gap",
            "it can be high even if the latent code has nearly collapsed.",
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
        "step_seconds": Parameter(0.0, "simulated work per report, in seconds", low=0, high=3600),
    },
    metrics={"value": Metric("Branin plus the bias of its fidelity")},
    uses_images=False,
)
PAIRS = (("kid", "recon_mse"), ("kid", "factorvae"), ("kid", "seconds"))
"""Pairs of objectives that conflict. recon_mse and kl are no pair: by construction, every beta lies on their front."""
MODELS: Mapping[str, Model] = {"ncsn": NCSN, "beta_vae": BETA_VAE, "branin": BRANIN}


def sign(metric: str) -> int:
    """Return 1 if lower values of `metric` are better, -1 if higher ones are. This is the same for every model."""
    return -1 if any(metric in model.metrics and model.metrics[metric].maximize for model in MODELS.values()) else 1


def build(spec: RunSpec) -> Run:
    """Return the Run of a spec. Imports torch if the model needs it."""
    module, function = MODELS[spec.model].run.split(":")
    run: Run = getattr(import_module(module), function)(spec)
    return run
