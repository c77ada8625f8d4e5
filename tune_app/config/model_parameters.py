"""The parameters of one model and the data set of one command, from options."""

from collections.abc import Callable, Mapping

from pydantic import ValidationError

from search_spaces.distributions import Scalar
from trainables.catalog import MODELS
from trainables.contract import DataSpec
from tune_app.config.checks import nearest, parameter_complaint
from tune_app.config.schema import DataConfig
from tune_app.config.strict_yaml import parse_value
from tune_app.errors import ConfigError, InputError, Problem

DATA_SETS = ("cifar10", "shapes", "folder")


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
    """Return name and path of `--data NAME` or `--data folder:DIR`."""
    name, _, path = option.partition(":")
    return name, path or None


def data_spec(option: str, resolution: int) -> DataSpec:
    """Return the images of `--data NAME` or `--data folder:DIR`. Raise InputError if there are none such."""
    name, path = split_data_option(option)
    if name not in DATA_SETS:
        raise InputError(f"--data {name}: there is no such data set", nearest(name, [*DATA_SETS]))
    if (name == "folder") != (path is not None):
        raise InputError(f"--data {name}: only folder takes a path, and it needs one", "write --data folder:DIR")
    try:
        data = DataConfig.model_validate({"name": name, "path": path, "resolution": resolution})
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise InputError(f"--resolution {resolution}: {message}") from None
    return DataSpec(data.name, data.resolution, data.path)
