"""The models, their parameters with bounds and defaults, and their metrics.

Torch is imported only when a run is built, so checking a configuration takes milliseconds. To add a model to the
project, add a folder or file with its `ImageModel` or `Run`, and one entry here. Plug-ins add theirs at run time.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from typing_extensions import override

from trainables import rules
from trainables.contract import Plugin, PluginError, Scalar
from trainables.model import Metric, Model, Parameter

NETWORK = Parameter(
    2,
    "2: the layers of the reference project; 1: those of version 0.1, kept so that old experiments resume; 0: those of "
    "the reference before it had normalisation, kept so that `score` reads its old checkpoints",
    low=0,
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
    image_model="trainables.ncsn.task:of_images",
    rules=rules.ncsn,
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
    image_model="trainables.beta_vae.task:of_images",
    rules=rules.beta_vae,
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


@dataclass(frozen=True)
class Contents:
    """The models and metrics of one plug-in."""

    plugin: Plugin
    models: Mapping[str, Model]
    metrics: Mapping[str, Metric]
    """Metrics of the samples of every model of images."""
    described: bool = False
    """True if the code was not run: a log describes its models, which can be read but not trained."""


class Catalog(Mapping[str, Model]):
    """The models by name: the built-in ones, then those of plug-ins."""

    def __init__(self, built_in: Mapping[str, Model]) -> None:
        self._built_in = dict(built_in)
        self._added: dict[str, Contents] = {}
        """Plug-ins by their name."""

    @override
    def __getitem__(self, name: str) -> Model:
        model = self._built_in.get(name) or self._models()[name]
        metrics = {key: metric for one in self._added.values() for key, metric in one.metrics.items()}
        return replace(model, metrics={**model.metrics, **metrics}) if metrics and model.uses_images else model

    @override
    def __iter__(self) -> Iterator[str]:
        return iter([*self._built_in, *self._models()])

    @override
    def __len__(self) -> int:
        return len(self._built_in) + len(self._models())

    def add(self, contents: Contents) -> None:
        """Add the models and metrics of a plug-in, or replace what it held before. Raise PluginError."""
        name = contents.plugin.name
        before = self._added.get(name)
        if contents.described and before:
            if before.plugin.sha256 != contents.plugin.sha256:
                self._added[name] = _merged(before, contents)
            return
        if before and not before.described and _are_two_files(before.plugin, contents.plugin):
            raise PluginError(f"{before.plugin.path} and {contents.plugin.path} have one name; rename one of them")
        others = [one for key, one in self._added.items() if key != name and not (one.described or contents.described)]
        for model in contents.models:
            if model in self._built_in:
                raise PluginError(f"{name}: {model} is the name of a built-in model; choose another one")
            if other := next((one for one in others if model in one.models), None):
                raise PluginError(f"{name} and {other.plugin.name} both define the model {model}; rename one of them")
        built_in = {metric for model in self._built_in.values() for metric in model.metrics}
        if taken := sorted(built_in & contents.metrics.keys()):
            raise PluginError(f"{name}: {taken[0]} is the name of a built-in metric; choose another one")
        self._added[name] = contents

    def contents(self, plugin: Plugin) -> Contents | None:
        """Return what the plug-in of that name holds, or None if it has not been added."""
        return self._added.get(plugin.name)

    def plugins_of(self, name: str) -> tuple[Plugin, ...]:
        """Return the plug-ins that a model or its metrics come from."""
        own = [one for one in self._added.values() if name in one.models or (one.metrics and self[name].uses_images)]
        code = [one for one in own if not one.described]
        return tuple(one.plugin for one in code or own)

    def code(self) -> list[Contents]:
        """Return the plug-ins whose code has been run."""
        return [one for one in self._added.values() if not one.described]

    def _models(self) -> dict[str, Model]:
        known = sorted(self._added.values(), key=lambda one: not one.described)  # code overrides a description
        return {name: model for one in known for name, model in one.models.items()}


def _are_two_files(one: Plugin, other: Plugin) -> bool:
    return bool(one.path and other.path) and one.path != other.path and one.sha256 != other.sha256


def _merged(before: Contents, described: Contents) -> Contents:
    """Return `before` with the parameters and metrics that only another version of the same code has."""
    models = {
        name: replace(
            model,
            parameters={**described.models[name].parameters, **model.parameters},
            metrics={**described.models[name].metrics, **model.metrics},
        )
        if name in described.models
        else model
        for name, model in {**described.models, **before.models}.items()
    }
    return replace(before, models=models, metrics={**described.metrics, **before.metrics})


MODELS = Catalog({"ncsn": NCSN, "beta_vae": BETA_VAE, "branin": BRANIN})


def sign(metric: str) -> int:
    """Return 1 if lower values of `metric` are better, -1 if higher ones are. This is the same for every model."""
    return -1 if any(metric in model.metrics and model.metrics[metric].maximize for model in MODELS.values()) else 1
