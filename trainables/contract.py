"""The contract between a trial and what it trains, on a page.

A `Trial` (trial.py) drives a `Run`: train so many images, evaluate, give its state, take it back. The two image
models do not implement `Run` themselves: `ImageRun` (training.py) does, around an `ImageModel`. Branin is a `Run`
without torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Scalar = bool | int | float | str


@dataclass(frozen=True)
class DataSpec:
    """Which images: a data set's name, the side of an image in pixels, and DIR for `folder`."""

    name: str = "cifar10"
    resolution: int = 32
    path: str | None = None


@dataclass(frozen=True)
class RunSpec:
    """All that fixes a run: the same spec gives the same numbers on the same CPU."""

    model: str
    params: Mapping[str, Scalar]
    """Every parameter of the model that does not belong to the sampling stage, defaults filled in."""
    seed: int
    common_seed: int = 0
    """Seed of what all trials of a sweep share, so that their likelihoods are paired: noise on held-out images."""
    metric: str = "kid"
    """The metric by which the best sampling setting is chosen (lower is better)."""
    data: DataSpec = field(default_factory=DataSpec)
    samples: int = 512
    """Images drawn at a rung."""
    final_samples: int = 2000
    """Images drawn at max_kimg."""
    nfe: int = 100
    """Network evaluations a sampled image may cost."""
    sampling: tuple[Mapping[str, Scalar], ...] = ({},)
    """Sampling-stage settings tried at each rung; each is a full set of the model's sampling parameters."""
    final_sampling: tuple[Mapping[str, Scalar], ...] = ({},)
    """The same at max_kimg."""
    max_kimg: float = 1.0


@dataclass(frozen=True)
class Evaluation:
    """What one evaluation found."""

    metrics: dict[str, float]
    sampling: dict[str, Scalar] = field(default_factory=dict)
    """The best sampling setting."""
    curve: list[dict[str, Scalar]] = field(default_factory=list)
    """Every sampling setting tried, with its metrics beside it."""
    levels: list[dict[str, Scalar]] = field(default_factory=list)
    """The held-out loss at noise levels: `sigma`, `loss`; empty for a model without them."""
    pictures: dict[str, bytes] = field(default_factory=dict)
    """PNG files by name: samples, reconstructions, traversal, interpolation."""
    features: str = ""
    """Name and fingerprint of the features behind kid and fd; numbers of different ones do not compare."""


class Judgement(NamedTuple):
    """What a model's own measures say on held-out images."""

    metrics: dict[str, float]
    levels: list[dict[str, Scalar]]
    """See Evaluation."""


class Run(Protocol):
    """One training run as its trial sees it."""

    def train(self, images: int) -> dict[str, float]:
        """Train on `images` more images; the mean of each loss over them (`loss` first). Raises NonFiniteError."""
        ...

    def evaluate(self, *, final: bool, yardstick: Any = None, spec: RunSpec | None = None) -> Evaluation:
        """Measure on held-out images; `final` uses final_samples and final_sampling. Raises NonFiniteError.

        `yardstick`: what samples are held against (yardstick.py), for runs that draw any; None takes the usual one.
        `spec`: another seed, sampling or number of samples than the run's own.
        """
        ...

    def state(self) -> dict[str, Any]:
        """Tensors and plain data from which `load_state` continues to the same numbers as an unbroken run."""
        ...

    def load_state(self, state: dict[str, Any]) -> None: ...


class Grid(NamedTuple):
    """Images (N, C, H, W) in [0, 1] to be drawn `columns` a row."""

    images: Tensor
    columns: int


class ImageModel(Protocol):
    """What NCSN and Beta-VAE each bring; images are (B, C, H, W) floats in [0, 1], losses (B,) in nats or as named."""

    network: nn.Module

    def loss(self, network: nn.Module, x: Tensor, kimg: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Losses an image, (B,) each; `loss` is the one trained on once `kimg` are seen (inf: after any warm-up)."""
        ...

    def sample(
        self, network: nn.Module, count: int, sampling: Mapping[str, Scalar], nfe: int, generator: torch.Generator
    ) -> Tensor:
        """`count` images (count, C, H, W), not clamped; within `nfe` network evaluations an image."""
        ...

    def settled(self, sampling: Mapping[str, Scalar], nfe: int) -> dict[str, Scalar]:
        """A sampling setting as it is carried out, with what follows from it, such as the raw step."""
        ...

    def judge(self, network: nn.Module, x: Tensor, factors: Tensor | None, generator: torch.Generator) -> Judgement:
        """The model's own metrics of held-out images x (N, C, H, W): `loss` (as after any warm-up), `bpd` and more.

        What has to be fitted is fitted on the first half of x and judged on the second; factors: int64 (N, F), where
        they are known.
        """
        ...

    def pictures(self, network: nn.Module, x: Tensor, generator: torch.Generator) -> dict[str, Grid]:
        """Pictures beside the samples, by name; x: some held-out images (N, C, H, W)."""
        ...


class NonFiniteError(ArithmeticError):
    """A loss, a weight or a whole sample set stopped being a number."""


class DataError(Exception):
    """A data set that is missing, damaged or of the wrong size; says what to do."""

    key = "data"
    """What of a configuration is to blame."""


class FeaturesError(DataError):
    """Features that cannot be had of these images, or whose weights are missing or damaged."""

    key = "evaluation.features"
