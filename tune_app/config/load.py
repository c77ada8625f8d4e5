"""From a space file to a SweepConfig: file, then profile, then options, then --set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

import search_spaces
from search_spaces.distributions import Scalar
from trainables.catalog import MODELS
from tune_app.config.checks import misfit, nearest
from tune_app.config.layers import Draft, nested
from tune_app.config.messages import FOLLOWS, place, sentence
from tune_app.config.schema import SweepConfig
from tune_app.config.strict_yaml import MOST_DEPTH, RESOLVERS, Document, Key, parse_value, read
from tune_app.errors import ConfigError, InputError, Problem


def load(
    path: str | Path,
    *,
    profile: str | None = None,
    set: Mapping[str, Any] | None = None,
    data: str | None = None,
    trials: int | None = None,
    seed: int | None = None,
    name: str | None = None,
    wandb: str | None = None,
) -> SweepConfig:
    """Read a space file, found by `find`; a text in `set` is read as YAML. Raises ConfigError with every problem."""
    document = read(find(path))
    profiles = _profiles(document)
    for other in profiles:
        if other != profile:  # a mistake in a profile shows before the day that it is chosen
            _validated(_with_profile(document, other, profiles))
    draft = _with_profile(document, profile, profiles)
    name_and_path = None if data is None else dict(zip(("name", "path"), data_choice(data), strict=True))
    for option, key, value in (
        ("data", ("data",), name_and_path),
        ("trials", ("search", "trials"), trials),
        ("seed", ("search", "seed"), seed),
        ("name", ("name",), name),
        ("wandb", ("wandb", "mode"), wandb),
    ):
        if value is not None:
            shown = data if option == "data" else value
            draft.overlay(nested(key, value), where=_said(f"--{option} {shown}"))
    for path_, value in (set or {}).items():
        said = f"--set {path_}={value}"
        keys = path_.split(".")
        if len(keys) > MOST_DEPTH:
            raise ConfigError(Problem(said[:200], f"a key has at most {MOST_DEPTH} parts"))
        if keys[0] == "profiles":
            raise ConfigError(Problem(said, "profiles belong in the file", "set the key itself, without profiles.NAME"))
        parsed = parse_value(value, where=said) if isinstance(value, str) else value
        draft.overlay(nested(keys, parsed), where=_said(said))
    return _validated(draft)


def find(path: str | Path) -> Path:
    """The file in the current folder, else the one of that name that ships in search_spaces/."""
    path = Path(path)
    if path.is_file():
        return path
    folder = Path(search_spaces.__file__).parent
    if path.name == str(path) and (folder / path).is_file():
        return folder / path
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a space file")
    shipped = sorted(file.name for file in folder.glob("*.yaml"))
    raise InputError(f"{path}: there is no such file, and none of that name ships", nearest(path.name, shipped))


def profile_names(path: str | Path) -> tuple[str, ...]:
    """The profiles that a space file offers."""
    return tuple(_profiles(read(find(path))))


def dump(config: SweepConfig) -> str:
    """The configuration as YAML with every default written out; reading it back gives the same configuration."""
    data = config.model_dump(mode="json", exclude={"profiles"})
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)


def restored(data: Mapping[str, object], where: Path) -> SweepConfig:
    """The configuration that the log at `where` holds; raises InputError if it is none."""
    try:
        return SweepConfig.model_validate(data)
    except ValidationError as error:
        raise InputError(
            f"{where}: the configuration in this log is damaged ({error.error_count()} mistakes)"
        ) from None


def schema() -> dict[str, Any]:
    """The JSON schema of a space file, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **SweepConfig.model_json_schema()}


def data_choice(option: str) -> tuple[str, str | None]:
    """Name and path of `--data NAME` or `--data folder:DIR`."""
    name, _, path = option.partition(":")
    return name, path or None


def model_parameters(model: str, sets: Mapping[str, Any]) -> dict[str, Scalar]:
    """A model's parameters, `sets` (texts read as YAML) over its defaults; raises ConfigError with every problem."""
    if model not in MODELS:
        raise InputError(f"{model}: there is no such model", nearest(model, [*MODELS]))
    known, problems = MODELS[model].parameters, []
    params = {name: parameter.default for name, parameter in known.items()}
    for name, value in sets.items():
        where = f"--set {name}={value}"
        parsed = parse_value(value, where=where) if isinstance(value, str) else value
        if name not in known:
            problems.append(Problem(where, f"{model} has no parameter of that name", nearest(name, [*known])))
        elif complaint := misfit(known[name], parsed):
            problems.append(Problem(where, f"{name}: {complaint}"))
        params[name] = parsed
    if problems:
        raise ConfigError(*problems)
    return params


class _Dumper(yaml.SafeDumper):
    """Quotes a text that either YAML 1.1 or YAML 1.2 would read as something else."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 (PyYAML's signature)
        return True


for _tag, (_pattern, _first) in RESOLVERS.items():
    _Dumper.add_implicit_resolver(_tag, _pattern, _first)


def _profiles(document: Document) -> dict[str, dict[str, Any]]:
    profiles = document.data.get("profiles", {})
    for key, value in ((("profiles",), profiles), *((("profiles", n), p) for n, p in _items(profiles))):
        if not isinstance(value, dict):
            raise ConfigError(Problem(document.where(key), f"{'.'.join(key)}: must be a block of `key: value`"))
        if len(key) == 2 and "profiles" in value:
            raise ConfigError(Problem(document.where((*key, "profiles")), "a profile cannot hold profiles"))
    return dict(profiles)


def _items(value: Any) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, dict) else []


def _with_profile(document: Document, profile: str | None, profiles: Mapping[str, dict[str, Any]]) -> Draft:
    draft = Draft(document)
    if profile is None:
        return draft
    if profile not in profiles:
        hint = nearest(profile, [*profiles]) if profiles else "the file has no profiles"
        raise ConfigError(Problem(f"--profile {profile}", f"{document.file} has no profile of that name", hint))
    draft.overlay(profiles[profile], where=lambda key: document.where(("profiles", profile, *key)), profile=profile)
    return draft


def _said(option: str) -> Callable[[Key], str]:
    return lambda _: option


def _validated(draft: Draft) -> SweepConfig:
    try:
        return SweepConfig.model_validate(draft.data)
    except ValidationError as error:
        problems = []
        for detail in error.errors(include_url=False):
            if detail["type"] == FOLLOWS:
                continue
            message, hint = sentence(detail, str(draft.data.get("model")))
            where, key = draft.origin(place(detail))
            problems.append(Problem(where, f"{'.'.join(map(str, key))}: {message}" if key else message, hint))
        raise ConfigError(*problems) from None
