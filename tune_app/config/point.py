"""A point of the search space that a person gives by hand."""

from collections.abc import Mapping

from search_spaces.distributions import Scalar, same
from trainables.catalog import MODELS
from tune_app.config.checks import nearest
from tune_app.config.schema import SweepConfig
from tune_app.config.strict_yaml import parse_value
from tune_app.errors import ConfigError, Problem


def parse_point(config: SweepConfig, sets: Mapping[str, str]) -> dict[str, Scalar]:
    """Return the values of `--set NAME=VALUE` options, read as YAML. Raise ConfigError with every problem."""
    options = {name: f"--set {name}={value}" for name, value in sets.items()}
    params = {name: parse_value(value, where=options[name]) for name, value in sets.items()}
    problems = [
        Problem(options[name], message, nearest(name, [*config.space.training]) if name not in known else None)
        for known in (MODELS[config.model].parameters,)
        for name, message in point_complaints(config, params).items()
    ]
    if problems:
        raise ConfigError(*problems)
    return params  # type: ignore[return-value]  # a complaint has refused every other type


def point_complaints(config: SweepConfig, params: Mapping[str, object]) -> dict[str, str]:
    """Return why the search space does not hold the point, for each value that it refuses."""
    found = {name: _complaint(config, params, name) for name in params}
    return {name: message for name, message in found.items() if message}


def _complaint(config: SweepConfig, params: Mapping[str, object], name: str) -> str | None:
    space, value = config.space, params[name]
    if name not in MODELS[config.model].parameters:
        return f"{config.model} has no parameter of that name"
    if name not in space.parameters:
        return f"{name} is not searched: it is {config.constants[name]} in every trial of this sweep"
    if name in space.sampling:
        return f"{name} is searched inside every evaluation, so a point cannot set it"
    if not isinstance(value, bool | int | float | str):
        return f"{name} must be a number, a string, true or false, not {value!r}"
    if complaint := space.parameters[name].complaint(value):
        return f"{name} {complaint}"
    return _condition(config, params, name)


def _condition(config: SweepConfig, params: Mapping[str, object], name: str) -> str | None:
    """Return why the parameter is not searched at this point."""
    for parent, allowed in config.space.parameters[name].when.items():
        words = " or ".join(map(str, allowed))
        if parent not in params and parent in config.space.parameters:
            return f"{name} is searched only when {parent} is {words}: also give --set {parent}=..."
        given = {**config.constants, **params}.get(parent)
        if not isinstance(given, bool | int | float | str) or not any(same(given, one) for one in allowed):
            return f"{name} is searched only when {parent} is {words}, not {given}"
    return None
