"""The parameters of one model and the data set of one command, from options."""

from collections.abc import Callable, Mapping
from typing import get_args

from pydantic import ValidationError

from search_spaces.distributions import Scalar
from trainables.catalog import MODELS
from trainables.contract import DataSpec
from tune_app.config.checks import nearest, parameter_complaint, side_complaint
from tune_app.config.data import WITH_PATH, DataConfig
from tune_app.config.messages import sentence
from tune_app.config.strict_yaml import parse_value
from tune_app.errors import ConfigError, InputError, Problem

DATA_SETS = get_args(DataConfig.model_fields["name"].annotation)


def _set_option(name: str, value: object) -> str:
    return f"--set {name}={value}"


def model_parameters(
    model: str, sets: Mapping[str, object], where: Callable[[str, object], str] = _set_option
) -> dict[str, Scalar]:
    """Return a model's parameters: its defaults, then `sets`, of which strings are read as YAML.

    `where` returns the option that a person wrote for a name and a value. Raise InputError for an unknown model, and
    ConfigError with every wrong parameter.
    """
    if model not in MODELS:
        raise InputError(f"{model}: there is no such model", nearest(model, [*MODELS]))
    known, problems = MODELS[model].parameters, []
    params = {name: parameter.default for name, parameter in known.items()}
    for name, value in sets.items():
        option = where(name, value)
        parsed = parse_value(value, where=option) if isinstance(value, str) else value
        if name not in known:
            problems.append(Problem(option, f"{model} has no parameter of that name", nearest(name, [*known])))
        elif complaint := parameter_complaint(known[name], parsed):
            problems.append(Problem(option, f"{name}: {complaint}"))
        elif isinstance(parsed, bool | int | float | str):
            params[name] = parsed
    for larger, smaller in MODELS[model].descending:
        if not problems and float(params[larger]) <= float(params[smaller]):
            name = next((name for name in (larger, smaller) if name in sets), larger)
            message = f"{larger} ({params[larger]:g}) must be above {smaller} ({params[smaller]:g})"
            problems.append(Problem(where(name, params[name]), message))
    if problems:
        raise ConfigError(*problems)
    return params


def split_data_option(option: str) -> tuple[str, str | None]:
    """Return name and path of `--data NAME`, `--data folder:DIR` or `--data npz:FILE`."""
    name, _, path = option.partition(":")
    return name, path or None


def data_spec(model: str, option: str, data: Mapping[str, object]) -> DataSpec:
    """Return the images of `--data NAME`, `--data folder:DIR` or `--data npz:FILE` for a model.

    `data` holds the other keys of the block `data`, and None for those that keep their defaults. Raise InputError.
    """
    name, path = split_data_option(option)
    if name not in DATA_SETS:
        raise InputError(f"--data {name}: there is no such data set", nearest(name, [*DATA_SETS]))
    if (name in WITH_PATH) != (path is not None):
        message = f"--data {name}: only folder and npz take a path, and they need one"
        raise InputError(message, "write --data folder:DIR or --data npz:FILE")
    given = {key: value for key, value in data.items() if value is not None}
    options = " ".join(f"--{key} {value}" for key, value in given.items() if key != "resize") or f"--data {name}"
    try:
        config = DataConfig.model_validate({"name": name, "path": path, **given})
    except ValidationError as error:
        raise InputError(f"{options}: {sentence(error.errors()[0], model)[0]}") from None
    if complaint := side_complaint(model, config.resolution):
        raise InputError(f"--resolution {config.resolution}: {complaint[0]}", complaint[1])
    return config.spec()
