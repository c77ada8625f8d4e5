"""The parameters of one model and the data set of one command, from options."""

from collections.abc import Mapping

from search_spaces.distributions import Scalar
from trainables.catalog import MODELS
from tune_app.config.checks import nearest, parameter_complaint
from tune_app.config.strict_yaml import parse_value
from tune_app.errors import ConfigError, InputError, Problem

DATA_SETS = ("cifar10", "shapes", "folder")


def model_parameters(model: str, sets: Mapping[str, object]) -> dict[str, Scalar]:
    """Return a model's parameters: its defaults, then `sets`, of which strings are read as YAML.

    Raise InputError for an unknown model and ConfigError with every wrong parameter.
    """
    if model not in MODELS:
        raise InputError(f"{model}: there is no such model", nearest(model, [*MODELS]))
    known, problems = MODELS[model].parameters, []
    params = {name: parameter.default for name, parameter in known.items()}
    for name, value in sets.items():
        where = f"--set {name}={value}"
        parsed = parse_value(value, where=where) if isinstance(value, str) else value
        if name not in known:
            problems.append(Problem(where, f"{model} has no parameter of that name", nearest(name, [*known])))
        elif complaint := parameter_complaint(known[name], parsed):
            problems.append(Problem(where, f"{name}: {complaint}"))
        elif isinstance(parsed, bool | int | float | str):
            params[name] = parsed
    for larger, smaller in MODELS[model].descending:
        if not problems and float(params[larger]) <= float(params[smaller]):
            name = next((name for name in (larger, smaller) if name in sets), larger)
            message = f"{larger} ({params[larger]:g}) must be above {smaller} ({params[smaller]:g})"
            problems.append(Problem(f"--set {name}={params[name]}", message))
    if problems:
        raise ConfigError(*problems)
    return params


def split_data_option(option: str) -> tuple[str, str | None]:
    """Return name and path of `--data NAME` or `--data folder:DIR`."""
    name, _, path = option.partition(":")
    return name, path or None


def check_data(name: str, path: str | None) -> None:
    """Raise InputError unless there is a data set `name`, with a path if it needs one and without one if not."""
    if name not in DATA_SETS:
        raise InputError(f"--data {name}: there is no such data set", nearest(name, [*DATA_SETS]))
    if (name == "folder") != (path is not None):
        raise InputError(f"--data {name}: only folder takes a path, and it needs one", "write --data folder:DIR")
