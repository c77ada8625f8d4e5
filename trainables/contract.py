"""The contract between a trial and the model that it trains.

A `Trial` (trial.py) drives a `Run`: train some images, evaluate, return the state, load it. Most models of images do
not implement `Run`: `ImageRun` (training.py) does, around an `ImageModel`. Branin is a `Run` without torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Scalar = bool | int | float | str
JUDGED_AT_ONCE = 256
"""Images whose loss is computed at once."""
SAMPLE_METRICS = 2
"""Version of the sample metrics, which a sweep keeps to its end.

1: the first 2,000 held-out images for everything, and every feature set standardised.
2: one half of the held-out images for the sweep, the other for the re-evaluation, and Inception features as they are.
"""


@dataclass(frozen=True)
class DataSpec:
    """The images: name of the data set, side of an image in pixels, and the path of a `folder` or an `npz` file."""

    name: str = "cifar10"
    resolution: int = 32
    path: str | None = None
    evaluated_on: str = "held_out"
    """`held_out`: train on the training images. `test`: train on these and the held-out images, for a retraining."""
    channels: int = 3
    """3: colours. 1: grey."""
    crop: str | None = None
    """`center`: scale the shorter side of every image to `resolution` and cut off both ends of the longer side.

    None: every image must be square, and its side a whole multiple of `resolution`.
    """

    @property
    def identity(self) -> str:
        """Name of these images in the cache and in their fingerprint. Colour images that fit have the oldest name."""
        grey, cropped = "-grey" if self.channels == 1 else "", f"-{self.crop}" if self.crop else ""
        return f"{self.name}-{self.resolution}{grey}{cropped}"


@dataclass(frozen=True)
class Plugin:
    """Code of a user that adds models or metrics: a file, or an entry point of an installed package."""

    name: str
    """Name in messages: that of the file, or of the package."""
    sha256: str
    """SHA-256 of the file, or of the Python files of the package."""
    source: str = ""
    """Text of the file, which travels to the workers. Empty for a package."""
    path: str = ""
    """The file on the machine that read it. Empty for a package."""
    entry_point: str = ""
    """`module:attribute` of a package. Empty for a file."""
    version: str = ""
    """Version of a package."""


@dataclass(frozen=True)
class RunSpec:
    """Everything that determines a run: the same spec gives the same numbers on the same CPU."""

    model: str
    params: Mapping[str, Scalar]
    """Every training-stage parameter of the model, defaults included."""
    seed: int
    common_seed: int = 0
    """Seed of the noise on held-out images. All trials of a sweep share it, so that their likelihoods are paired."""
    metric: str = "kid"
    """Metric that chooses the best sampling setting; lower is better."""
    data: DataSpec = field(default_factory=DataSpec)
    samples: int = 512
    """Images sampled at a rung."""
    final_samples: int = 2000
    """Images sampled at max_kimg."""
    nfe: int = 100
    """Network evaluations allowed for one sampled image."""
    sampling: tuple[Mapping[str, Scalar], ...] = ({},)
    """Sampling settings tried at each rung. Each has all sampling-stage parameters of the model."""
    final_sampling: tuple[Mapping[str, Scalar], ...] = ({},)
    """Sampling settings tried at max_kimg."""
    max_kimg: float = 1.0
    plugins: tuple[Plugin, ...] = ()
    """The user's code that the model and its metrics come from. It travels with the trial."""


class ErrorParts(NamedTuple):
    """The parts of the error of one metric, see Estimate in metrics/kid.py."""

    samples: float
    """Standard error from the samples alone."""
    without_group: list[float]
    """The value without each group of the images that the samples were compared with."""


@dataclass(frozen=True)
class Evaluation:
    """Result of one evaluation."""

    metrics: dict[str, float]
    sampling: dict[str, Scalar] = field(default_factory=dict)
    """The best sampling setting, as the space names it."""
    settled: dict[str, Scalar] = field(default_factory=dict)
    """The same setting with its derived values, see ImageModel.settled."""
    curve: list[dict[str, Scalar]] = field(default_factory=list)
    """Every sampling setting tried, with its metrics. A value that was used instead of the named one is `used_NAME`."""
    levels: list[dict[str, Scalar]] = field(default_factory=list)
    """The held-out loss at noise levels: `sigma`, `loss`; empty for a model without them."""
    pictures: dict[str, bytes] = field(default_factory=dict)
    """PNG files by name: samples, reconstructions, traversal, interpolation."""
    features: str = ""
    """Name and fingerprint of the features behind kid and fd. Do not compare values of different features."""
    errors: dict[str, ErrorParts] = field(default_factory=dict)
    """The parts of the standard error, for metrics that have them."""


class Judgement(NamedTuple):
    """The model's own metrics on held-out images."""

    metrics: dict[str, float]
    levels: list[dict[str, Scalar]]
    """See Evaluation."""
    reconstructions: Tensor | None = None
    """The images as the model reconstructs them, (N, C, H, W) in [0, 1], if it has an encoder."""


class Run(Protocol):
    """One training run, as its trial uses it."""

    def train(self, images: int) -> dict[str, float]:
        """Train on about `images` more images and return the mean of each loss, `loss` first. Raise NonFiniteError.

        A run may go on to the end of its batch, and trains that much less in the next call.
        """
        ...

    def evaluate(self, *, final: bool, sample_metrics: Any = None, spec: RunSpec | None = None) -> Evaluation:
        """Evaluate on held-out images; `final` uses final_samples and final_sampling. Raise NonFiniteError.

        `sample_metrics` (sample_metrics.py) measures the samples, if the run draws any. None selects the default.
        `spec` replaces the run's own seed, sampling and number of samples.
        """
        ...

    def state(self) -> dict[str, Any]:
        """Return tensors and plain data from which `load_state` continues as if the run had never stopped."""
        ...

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        ...


class Grid(NamedTuple):
    """Images (N, C, H, W) in [0, 1], to be shown in rows of `columns`."""

    images: Tensor
    columns: int


@dataclass(frozen=True)
class ImageFacts:
    """Facts about the training images that a model may be built for."""

    shape: tuple[int, int, int]
    """Channels, height and width."""
    mean: float
    """Mean of all training pixels, in [0, 1]."""
    variance: float
    """Mean squared deviation of the training pixels from `mean`."""


class ImageModel(ABC):
    """A model of images. Images are floats (B, C, H, W) in [0, 1], losses (B,) in nats or as named.

    A model must have a network, a loss and a way to sample. The other methods have a default.
    """

    network: nn.Module
    constant_from_kimg: float = inf
    """The kimg from which `loss` no longer depends on kimg. Then a GPU may replay its steps as a recorded graph.

    Set it only if `loss` reads nothing back from the device.
    """

    @abstractmethod
    def loss(
        self, network: nn.Module, x: Tensor, kimg: float, generator: torch.Generator
    ) -> Tensor | dict[str, Tensor]:
        """Return the loss of each image, (B,), or several by name. `loss` is the one that is trained.

        `kimg` is the training so far, or inf to leave a warm-up out. Draw every random number from `generator`.
        """

    @abstractmethod
    def sample(
        self, network: nn.Module, count: int, sampling: Mapping[str, Scalar], nfe: int, generator: torch.Generator
    ) -> Tensor:
        """Return `count` images (count, C, H, W), not clamped, with at most `nfe` network evaluations for each.

        Draw every random number from `generator`, on its device.
        """

    def settled(self, sampling: Mapping[str, Scalar], nfe: int) -> dict[str, Scalar]:
        """Return the sampling setting with its derived values added, such as the raw step size.

        `nfe` is the number of network evaluations for one image. By default it is the whole budget.
        """
        return {**sampling, "nfe": nfe}

    def judge(
        self,
        network: nn.Module,
        x: Tensor,
        factors: Tensor | None,  # noqa: ARG002
        generator: torch.Generator,
    ) -> Judgement:
        """Return the model's own metrics on held-out images x (N, C, H, W), such as `loss` and `bpd`.

        `loss` uses the weights that apply after warm-up. Anything that must be fitted is fitted on the first half of x
        and scored on the second. `factors` is int64 (N, F), or None if unknown. By default the metrics are the means
        of the losses.
        """
        parts = [named_losses(self.loss(network, part, inf, generator)) for part in x.split(JUDGED_AT_ONCE)]  # type: ignore[no-untyped-call]
        totals = {name: sum(float(part[name].double().sum()) for part in parts) for name in parts[0]}
        return Judgement({name: total / len(x) for name, total in totals.items()}, [])

    def pictures(self, network: nn.Module, x: Tensor, generator: torch.Generator) -> dict[str, Grid]:  # noqa: ARG002
        """Return the model's pictures by name, in addition to the samples. x: some held-out images (N, C, H, W)."""
        return {}


def named_losses(losses: Tensor | dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the losses of ImageModel.loss by name."""
    return losses if isinstance(losses, dict) else {"loss": losses}


class PluginError(Exception):
    """A user's code cannot be loaded, or it broke the contract. The message names the code and says what is wrong."""


class NonFiniteError(ArithmeticError):
    """A loss, a weight or all samples are NaN or infinite."""


class DataError(Exception):
    """A data set is missing, damaged or of the wrong size. The message says what to do."""

    key = "data"
    """Configuration key that the error is about."""


class FeaturesError(DataError):
    """Features cannot be computed for these images, or their weights are missing or damaged."""

    key = "evaluation.features"
