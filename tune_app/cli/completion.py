"""Shell completion of arguments and options. Nothing is imported before a shell asks for completions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

if TYPE_CHECKING:
    from pydantic import BaseModel

Complete = Callable[[click.Context, click.Parameter, str], list[str]]


def _completing(words: Callable[[click.Context], Iterable[str]]) -> Complete:
    """Return the callback that completes the words which begin with what is typed."""

    def complete(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
        try:
            return [word for word in words(context) if word.startswith(incomplete)]
        except Exception:  # an error message in the middle of a command line helps nobody
            return []

    return complete


def _spaces(_context: click.Context) -> Iterable[str]:
    """Return the space files of the current folder and the shipped ones."""
    from tune_app.config.space_file import SHIPPED

    return sorted({path.name for folder in (Path(), SHIPPED) for path in folder.glob("*.yaml")})


def _experiments(context: click.Context) -> Iterable[str]:
    """Return `latest` and the experiments under --out."""
    return ["latest", *sorted(log.parent.name for log in _out(context).glob("*/events.jsonl"))]


def _profiles(context: click.Context) -> Iterable[str]:
    """Return the profiles of the chosen file."""
    from tune_app.config.load import profile_names
    from tune_app.config.profile import NO_PROFILE

    return [NO_PROFILE, *profile_names(_file(context))]


def _models(_context: click.Context) -> Iterable[str]:
    from trainables.catalog import MODELS

    return MODELS


def _parameters(context: click.Context) -> Iterable[str]:
    """Return NAME= for the parameters of the chosen model, or of every model if none is known."""
    from trainables.catalog import MODELS

    model = _model(context)
    models = [MODELS[model]] if model in MODELS else [*MODELS.values()]
    return [f"{name}=" for name in dict.fromkeys(name for one in models for name in one.parameters)]


def _keys(context: click.Context) -> Iterator[str]:
    """Yield KEY= for every key of a space file that --set takes."""
    from search_spaces.distributions import Categorical, Float, Int
    from tune_app.config.schema import SweepConfig

    parameters = [name.removesuffix("=") for name in _parameters(context)]
    ranges = dict.fromkeys(key for kind in (Float, Int, Categorical) for key in kind.model_fields)
    named = {
        "parameters": [name for p in parameters for name in (p, *(f"{p}.{key}" for key in ranges))],
        "fixed": parameters,
    }
    for key in _nested(SweepConfig):
        if key in named:
            yield from (f"{key}.{name}=" for name in named[key])
        elif key != "profiles":
            yield f"{key}="


def _nested(block: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield the dotted keys of a block and of the blocks in it."""
    from pydantic import BaseModel

    for name, field in block.model_fields.items():
        kinds = (field.annotation, *get_args(field.annotation))
        inner = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
        if inner is None or name == "metrics":
            yield f"{prefix}{name}"
        else:
            yield from _nested(inner, f"{prefix}{name}.")


def _model(context: click.Context) -> str:
    """Return the model that the command names, directly or in its file; empty if it names none."""
    from tune_app.config.strict_yaml import read
    from tune_app.errors import TuneAppError

    if "model" in context.params:
        return _argument(context, "model")
    try:
        return str(read(_file(context)).data.get("model"))
    except TuneAppError:
        return ""


def _file(context: click.Context) -> Path:
    """Return the space file that the command names, or the one of its experiment."""
    from tune_app.config.space_file import find_space

    if "experiment" in context.params:
        from tune_app.experiment.out_folder import find

        return find(_argument(context, "experiment"), _out(context)).sweep_yaml
    return find_space(_argument(context, "space"))


def _argument(context: click.Context, name: str) -> str:
    """Return the value of the command's first argument."""
    # click assigns no argument if the last word is an option without its value; the words are then left in `args`
    return str(context.params.get(name) or next(iter(context.args), ""))


def _out(context: click.Context) -> Path:
    from tune_app.experiment.out_folder import DEFAULT_OUT

    # commands whose --out is a file have another option for the folder of experiments
    named = [context.params.get(name) for name in ("folder", "experiments", "out")]
    return next((path for path in named if isinstance(path, Path)), DEFAULT_OUT)


complete_space = _completing(_spaces)
complete_experiment = _completing(_experiments)
complete_profile = _completing(_profiles)
complete_model = _completing(_models)
complete_parameter = _completing(_parameters)
complete_key = _completing(_keys)
