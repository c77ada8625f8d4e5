"""A space as Optuna distributions and suggestions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from search_spaces.distributions import Categorical, Distribution, Float, Scalar
from search_spaces.space import Space

if TYPE_CHECKING:
    from optuna.trial import BaseTrial


def distribution(parameter: Distribution) -> BaseDistribution:
    """Return the Optuna distribution."""
    if isinstance(parameter, Categorical):
        return CategoricalDistribution(parameter.choices)
    if isinstance(parameter, Float):
        return FloatDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)
    return IntDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)


def suggest(trial: BaseTrial, space: Space, fixed: Mapping[str, Scalar] | None = None) -> dict[str, Scalar]:
    """Suggest the active parameters of the training stage, parents first. A name in `fixed` keeps its value."""
    params: dict[str, Scalar] = {}
    for name, parameter in space.training.items():
        known = {**(fixed or {}), **params}
        if space.active(name, known):
            value = known.get(name)
            params[name] = _draw(trial, name, parameter) if value is None else value
    return params


def _draw(trial: BaseTrial, name: str, parameter: Distribution) -> Scalar:
    if isinstance(parameter, Categorical):
        return cast(Scalar, trial.suggest_categorical(name, parameter.choices))
    if isinstance(parameter, Float):
        return trial.suggest_float(name, parameter.low, parameter.high, log=parameter.log, step=parameter.step)
    return trial.suggest_int(name, parameter.low, parameter.high, log=parameter.log, step=parameter.step)
