"""The values that parameters take in a sweep, for the checks of their combinations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from search_spaces.distributions import Categorical, Scalar, same
from trainables.catalog import MODELS

if TYPE_CHECKING:
    from tune_app.config.schema import SweepConfig


@dataclass(frozen=True)
class Fault:
    """Something wrong at a key of the configuration."""

    key: tuple[str | int, ...]
    message: str
    hint: str = ""


class Reach:
    """The values that parameters take in the trials of the search, or in one baseline."""

    def __init__(self, config: SweepConfig, baseline: int | None = None) -> None:
        self.config, self._baseline = config, baseline
        self._given = {} if baseline is None else config.baselines[baseline]

    @property
    def first_rung(self) -> float:
        """Kimg at which trials are evaluated first."""
        return self.config.rungs[0]

    def extremes(self, name: str) -> tuple[float, float]:
        """Return the smallest and the largest value of a numeric parameter."""
        numbers = [float(value) for value in self._values(name)]
        return min(numbers), max(numbers)

    def choices(self, name: str) -> set[Scalar]:
        """Return the values of a parameter of choices."""
        return set(self._values(name)) if name in MODELS[self.config.model].parameters else set()

    def is_searched(self, name: str) -> bool:
        """Return True if the search varies the parameter."""
        return name in self.config.parameters

    def is_searched_when(self, name: str, parent: str, value: Scalar) -> bool:
        """Return True if the search varies the parameter only for some values of `parent`, and for this one."""
        return any(same(one, value) for one in self.config.parameters[name].when.get(parent, ()))

    def sets_any(self, names: Iterable[str]) -> bool:
        """Return True for the search, and for a baseline that sets one of the parameters."""
        return self._baseline is None or any(name in self._given for name in names)

    def fault(self, message: str, hint: str = "", *names: str) -> Fault:
        """Return the fault at the first of the parameters that the baseline or the configuration sets."""
        if self._baseline is None:
            return Fault(_written(self.config, *names), message, hint)
        inside = [name for name in names if name in self._given]
        return Fault(("baselines", self._baseline, *inside[:1]), message, hint)

    def _values(self, name: str) -> list[Scalar]:
        if name in self._given:
            return [self._given[name]]
        p = self.config.parameters.get(name)
        if p is None:
            return [self.config.constants[name]]
        values: list[Scalar] = [*p.choices] if isinstance(p, Categorical) else [p.low, p.high]
        if p.when:
            values.append(MODELS[self.config.model].parameters[name].default)  # its value where it is not searched
        return values


def all_reaches(config: SweepConfig, *names: str) -> Iterator[Reach]:
    """Yield the reach of the search, and that of each baseline that sets one of the parameters."""
    yield Reach(config)
    for i, baseline in enumerate(config.baselines):
        if any(name in baseline for name in names):
            yield Reach(config, i)


def _written(config: SweepConfig, *names: str) -> tuple[str, ...]:
    """Return the key of the first of the parameters that the configuration sets."""
    keys = [(block, name) for name in names for block in ("parameters", "fixed") if name in getattr(config, block)]
    return keys[0] if keys else ("parameters",)
