"""The declaration of a model: its parameters, its metrics, and the functions that build it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from typing import TYPE_CHECKING, NamedTuple, Protocol

from trainables.contract import ImageFacts, ImageModel, Run, RunSpec, Scalar

if TYPE_CHECKING:
    from torch import Tensor, nn

MakeImageModel = Callable[[Mapping[str, Scalar], ImageFacts], ImageModel]
"""Build a model from every training-stage parameter and the facts about its images. Its weights are seeded."""
MakeRun = Callable[[RunSpec], Run]
"""Build a run."""
OfSamples = Callable[["Tensor", "Tensor", "nn.Module"], float]


class Reach(Protocol):
    """The values that the parameters take in the trials of a search, or in one of its baselines."""

    @property
    def first_rung(self) -> float:
        """Kimg at which trials are evaluated first."""
        ...

    def extremes(self, name: str) -> tuple[float, float]:
        """Return the smallest and the largest value of a numeric parameter."""
        ...

    def choices(self, name: str) -> set[Scalar]:
        """Return the values of a parameter of choices."""
        ...

    def is_searched(self, name: str) -> bool:
        """Return True if the search varies the parameter."""
        ...

    def is_searched_when(self, name: str, parent: str, value: Scalar) -> bool:
        """Return True if the search varies the parameter only for some values of `parent`, and for this one."""
        ...


class Complaint(NamedTuple):
    """The reason why a combination of parameters is refused."""

    names: tuple[str, ...]
    """The parameters at fault, the most likely one first."""
    message: str
    hint: str = ""


Rules = Callable[[Reach], Iterable[Complaint]]


def no_rules(_reach: Reach) -> Iterable[Complaint]:
    """Return no complaint: all combinations of the parameters make sense."""
    return ()


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
    of_samples: OfSamples | None = None
    """Compute the metric from samples and held-out images, both uint8 (N, C, H, W), and the evaluated network.

    None if the run reports the metric itself.
    """


def always(_params: Mapping[str, Scalar], _sampling: Mapping[str, Scalar]) -> bool:
    """Return True: every network can be sampled with every setting."""
    return True


@dataclass(frozen=True)
class Model:
    """A model that can be swept: its parameters with bounds and defaults, its metrics, and what builds its run."""

    parameters: Mapping[str, Parameter]
    metrics: Mapping[str, Metric]
    image_model: str | MakeImageModel = ""
    """Builds the ImageModel: a function, or `module:function`, which is imported only then. Empty without images."""
    run: str | MakeRun = ""
    """Builds the Run, in the same two forms. Empty for the usual training of the ImageModel."""
    uses_images: bool = True
    side_multiple: int = 1
    """The side of an image must be a multiple of this number of pixels."""
    descending: Sequence[tuple[str, str]] = ()
    """Pairs of parameters. The first of a pair must be larger than the second."""
    rules: Rules = no_rules
    """Return what is wrong with a combination of parameters that are each within their bounds."""
    can_sample: Callable[[Mapping[str, Scalar], Mapping[str, Scalar]], bool] = always
    """Return True if a network of these training parameters can be sampled with this setting."""
    version: int = 1
    """Raise this when the same RunSpec gives other numbers. Experiments of another version are not resumed."""
