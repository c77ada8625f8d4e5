"""A space of parameters: stages, conditions between parameters, and grid points."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice

from search_spaces.distributions import MOST_VALUES, Distribution, Scalar, SpaceError, same

MOST_SETTINGS = 27
"""Sampling settings that one evaluation may try."""


@dataclass(frozen=True)
class Space:
    """The searched parameters by name. `fixed` holds values that a `when` may also name."""

    parameters: Mapping[str, Distribution]
    fixed: Mapping[str, Scalar] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.order:
            for parent, allowed in self.parameters[name].when.items():
                self._check_condition(name, parent, allowed)

    @cached_property
    def order(self) -> tuple[str, ...]:
        """Return every name, each after the names in its `when`."""
        done: dict[str, None] = {}
        for name in self.parameters:
            self._place(name, (), done)
        return tuple(done)

    @property
    def training(self) -> dict[str, Distribution]:
        """Return the parameters that each trial draws, parents first."""
        return {name: p for name in self.order if (p := self.parameters[name]).stage == "training"}

    @property
    def sampling(self) -> dict[str, Distribution]:
        """Return the parameters that each evaluation searches, parents first."""
        return {name: p for name in self.order if (p := self.parameters[name]).stage == "sampling"}

    def active(self, name: str, params: Mapping[str, Scalar]) -> bool:
        """Return True if `name` is searched at a point with these values."""
        known = {**self.fixed, **params}
        return all(
            parent in known
            and any(same(known[parent], value) for value in allowed)
            and (parent not in self.parameters or self.active(parent, params))
            for parent, allowed in self.parameters[name].when.items()
        )

    def sampling_grid(self, k: int, params: Mapping[str, Scalar] | None = None) -> list[dict[str, Scalar]]:
        """Return the settings that an evaluation tries: k values of each range.

        `params` decides a `when` on training.
        """
        return self._points(self.sampling, lambda p: p.midpoints(k), given=params or {}, most=MOST_SETTINGS)

    def grid(self) -> list[dict[str, Scalar]]:
        """Return every point of the training stage."""
        return self._points(self.training, lambda p: p.values(), given={}, most=MOST_VALUES)

    def _points(
        self,
        names: Iterable[str],
        values: Callable[[Distribution], Sequence[Scalar]],
        *,
        given: Mapping[str, Scalar],
        most: int,
    ) -> list[dict[str, Scalar]]:
        points: list[dict[str, Scalar]] = [{}]
        for name in names:
            try:
                choices: list[dict[str, Scalar]] = [{name: value} for value in values(self.parameters[name])]
            except SpaceError as error:
                raise SpaceError(str(error), name) from None
            more = (p | c for p in points for c in (choices if self.active(name, {**given, **p}) else [{}]))
            points = list(islice(more, most + 1))
            if len(points) > most:
                raise SpaceError(f"makes more than {most} settings with the parameters before it", name)
        return points

    def _place(self, name: str, path: tuple[str, ...], done: dict[str, None]) -> None:
        if name in path:
            raise SpaceError(f"when goes in a circle: {' -> '.join((*path[path.index(name) :], name))}", name)
        if name in done:
            return
        for parent in self.parameters[name].when:
            if parent in self.parameters:
                self._place(parent, (*path, name), done)
        done[name] = None

    def _check_condition(self, name: str, parent: str, allowed: Iterable[Scalar]) -> None:
        if parent in self.parameters:
            above = self.parameters[parent]
            if self.parameters[name].stage == "training" and above.stage == "sampling":
                raise SpaceError(f"when names {parent}, which is of the sampling stage and unknown in training", name)
            for value in allowed:
                if complaint := above.complaint(value):
                    raise SpaceError(f"when: {parent} {complaint}", name)
        elif parent not in self.fixed:
            raise SpaceError(f"when names {parent}, which is neither searched nor fixed", name)
        elif not any(same(self.fixed[parent], value) for value in allowed):
            raise SpaceError(f"is never searched: its when asks of {parent} another value than the fixed one", name)
