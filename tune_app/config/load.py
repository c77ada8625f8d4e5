"""Load a space file into a SweepConfig: the file, then a profile, then options, then --set."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue, ValidationError

from tune_app.config.checks import nearest
from tune_app.config.data import WITH_PATH
from tune_app.config.layers import Data, Layers, nested
from tune_app.config.messages import FOLLOWS_ANOTHER, place, sentence
from tune_app.config.methods import add_methods_of_then
from tune_app.config.model_parameters import split_data_option
from tune_app.config.rung_ladder import ladder_of_version_0_1
from tune_app.config.schema import RESUMED, SweepConfig
from tune_app.config.space_file import find_space
from tune_app.config.strict_yaml import MOST_DEPTH, Document, Key, parse_value, read
from tune_app.config.yaml_dumper import dump_yaml
from tune_app.errors import ConfigError, InputError, Problem

WORKSPACE = "workspace"
"""Key of `wandb` in experiments of version 0.1.0. It had no effect on the trials and no longer exists."""


@dataclass(frozen=True)
class Overrides:
    """The options that have a key of their own. They overrule the file and its profile."""

    data: str | None = None
    trials: int | None = None
    seed: int | None = None
    name: str | None = None
    wandb: str | None = None

    def layers(self) -> list[tuple[str, Data]]:
        """Return (option as typed, data) for each option that is given."""
        data: JsonValue = None
        if self.data is not None:
            data = dict(zip(("name", "path"), split_data_option(self.data), strict=True))
        values: list[tuple[str, str, JsonValue]] = [
            (f"--data {self.data}", "data", data),
            (f"--trials {self.trials}", "search.trials", self.trials),
            (f"--seed {self.seed}", "search.seed", self.seed),
            (f"--name {self.name}", "name", self.name),
            (f"--wandb {self.wandb}", "wandb.mode", self.wandb),
        ]
        given = ((option, nested(key.split("."), value)) for option, key, value in values if value is not None)
        return [(option, _with_own_images(layer)) for option, layer in given]


def load(
    path: str | Path,
    *,
    profile: str | None = None,
    set: Mapping[str, object] | None = None,
    fix: Mapping[str, object] | None = None,
    overrides: Overrides | None = None,
) -> SweepConfig:
    """Read the space file at `path`, or the shipped one of that name. Strings in `set` and `fix` are read as YAML.

    A parameter in `fix` is not searched but has that value. A baseline loses its values of parameters that a profile or
    an option has removed from the search. Raise ConfigError with every problem, those of profiles that are not chosen
    included.
    """
    document = read(find_space(path))
    profiles = _profiles(document)
    for other in profiles:
        if other != profile:
            unused = _with_profile(document, other, profiles)
            _drop_unsearched(unused, document, profiles.get(other))
            _validated(unused, base=Layers(document))
    layers = _with_profile(document, profile, profiles)
    for option, data in (overrides or Overrides()).layers():
        layers.overlay(data, where=_always(option))
    for key, value in (set or {}).items():
        option = f"--set {key}={value}"
        layers.overlay(nested(_split(key, option), _parsed(value, option)), where=_always(option))
    for name, value in (fix or {}).items():
        option = f"--fix {name}={value}"
        if name in _block(layers.data, "parameters"):
            layers.overlay(nested(["parameters", name], None), where=_always(option))
        layers.overlay(nested(["fixed", name], _parsed(value, option)), where=_always(option))
    dropped = _drop_unsearched(layers, document, profiles.get(profile or ""))
    config = _validated(layers, base=Layers(document))
    config.notes.extend(f"baselines: {name} is not searched, so their values of it are left out" for name in dropped)
    return config


def load_resolved(path: Path, set: Mapping[str, object] | None = None) -> SweepConfig:
    """Read the sweep.yaml of an experiment, which an earlier version may have written."""
    document = read(find_space(path))
    _upgrade(document.data)
    layers = Layers(document)
    for key, value in (set or {}).items():
        option = f"--set {key}={value}"
        layers.overlay(nested(_split(key, option), _parsed(value, option)), where=_always(option))
    return _validated(layers, context=RESUMED)


def restored(data: Mapping[str, object], where: Path) -> SweepConfig:
    """Return the configuration that the log at `where` holds. Raise InputError if it is damaged."""
    logged = deepcopy(dict(data))
    _upgrade(logged)
    try:
        return SweepConfig.model_validate(logged, context=RESUMED)
    except ValidationError as error:
        raise InputError(
            f"{where}: the configuration in this log is damaged ({error.error_count()} mistakes)"
        ) from None


def profile_names(path: str | Path) -> tuple[str, ...]:
    """Return the profiles that a space file offers."""
    return tuple(_profiles(read(find_space(path))))


def dump(config: SweepConfig) -> str:
    """Return the configuration as YAML with every default written out. It reads back equal."""
    return dump_yaml(config.model_dump(mode="json", exclude={"profiles"}))


def _block(data: Data, name: str) -> Data:
    block = data.get(name)
    return block if isinstance(block, dict) else {}


def _drop_unsearched(layers: Layers, document: Document, profile: Data | None) -> list[str]:
    """Remove the baselines' values of parameters that a later layer took out of the search, and return their names."""
    once = {*_block(document.data, "parameters"), *_block(profile or {}, "parameters")}
    names = once - _block(layers.data, "parameters").keys()
    baselines = layers.data.get("baselines")
    listed = [one for one in baselines if isinstance(one, dict)] if isinstance(baselines, list) else []
    present = sorted({name for name in names for one in listed if name in one})
    for name in present:
        for one in listed:
            one.pop(name, None)
    return present


def _upgrade(data: dict[str, object] | Data) -> None:
    """Bring the resolved configuration of an experiment of version 0.1 up to date. Its rungs stay as they are."""
    wandb, scheduler = data.get("wandb"), data.get("scheduler")
    if isinstance(wandb, dict):
        wandb.pop(WORKSPACE, None)
    add_methods_of_then(data)  # type: ignore[arg-type]
    if isinstance(scheduler, dict) and "rungs" not in scheduler:
        with suppress(LookupError, TypeError, ValueError):  # the check of the whole configuration says what is wrong
            names = ("grace_kimg", "max_kimg", "reduction_factor")
            scheduler["rungs"] = ladder_of_version_0_1(*(float(scheduler[name]) for name in names))


def _split(key: str, option: str) -> list[str]:
    parts = key.split(".")
    if len(parts) > MOST_DEPTH:
        raise ConfigError(Problem(option[:200], f"a key has at most {MOST_DEPTH} parts"))
    if parts[0] == "profiles":
        raise ConfigError(Problem(option, "profiles belong in the file", "set the key itself, without profiles.NAME"))
    return parts


def _parsed(value: object, option: str) -> JsonValue:
    return parse_value(value, where=option) if isinstance(value, str) else value  # type: ignore[return-value]


def _profiles(document: Document) -> dict[str, Data]:
    profiles = document.data.get("profiles", {})
    entries: list[tuple[Key, JsonValue]] = [(("profiles",), profiles)]
    if isinstance(profiles, dict):
        entries += [(("profiles", name), profile) for name, profile in profiles.items()]
    for key, value in entries:
        if not isinstance(value, dict):
            name = ".".join(map(str, key))
            raise ConfigError(Problem(document.where(key), f"{name}: must be a block of `key: value`"))
        if len(key) == 2 and "profiles" in value:
            raise ConfigError(Problem(document.where((*key, "profiles")), "a profile cannot hold profiles"))
    return dict(profiles)  # type: ignore[arg-type]


def _with_profile(document: Document, profile: str | None, profiles: Mapping[str, Data]) -> Layers:
    layers = Layers(document)
    if profile is None:
        return layers
    if profile not in profiles:
        hint = nearest(profile, [*profiles]) if profiles else "the file has no profiles"
        raise ConfigError(Problem(f"--profile {profile}", f"{document.file} has no profile of that name", hint))
    layers.overlay(
        _with_own_images(profiles[profile]),
        where=lambda key: document.where(("profiles", profile, *key)),
        profile=profile,
    )
    return layers


def _with_own_images(layer: Data) -> Data:
    """Return the layer so that path and resizing below it go if it names a data set that has none."""
    data = layer.get("data")
    if not isinstance(data, dict) or data.get("name", "folder") in WITH_PATH:
        return layer
    return {**layer, "data": {"path": None, "resize": None, **data}}


def _always(option: str) -> Callable[[Key], str]:
    return lambda _: option


def _validated(layers: Layers, context: str | None = None, base: Layers | None = None) -> SweepConfig:
    """Return the configuration. `base` is the file without a profile, whose own mistakes are reported at its lines."""
    try:
        return SweepConfig.model_validate(layers.data, context=context)
    except ValidationError as error:
        found = _problems(error, layers)
    own = _problems_of(base) if base else []
    problems = []
    for key, problem in found:
        same = [other for place, other in own if place == key]
        problems += same if same and problem.key.startswith("profiles.") else [problem]
    raise ConfigError(*dict.fromkeys(problems))


def _problems_of(layers: Layers) -> list[tuple[Key, Problem]]:
    try:
        SweepConfig.model_validate(layers.data)
    except ValidationError as error:
        return _problems(error, layers)
    return []


def _problems(error: ValidationError, layers: Layers) -> list[tuple[Key, Problem]]:
    """Return each problem with its key in the merged configuration."""
    problems = []
    for detail in error.errors(include_url=False):
        if detail["type"] == FOLLOWS_ANOTHER:
            continue
        message, hint = sentence(detail, str(layers.data.get("model")))
        where, key = layers.origin(place(detail))
        name = ".".join(map(str, key))
        problems.append((place(detail), Problem(where, f"{name}: {message}" if key else message, hint, name)))
    return problems
