"""Parameters that newer versions added: an experiment keeps the method with which it started."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING

from search_spaces.distributions import Scalar
from trainables.catalog import MODELS
from trainables.model import Parameter

if TYPE_CHECKING:
    from tune_app.config.schema import SweepConfig


def with_methods_written_out(config: SweepConfig) -> SweepConfig:
    """Return `config` with a value under `fixed` for each such parameter, so that its experiment names all of them."""
    added = _added(config.model)
    return _with_fixed(config, {name: parameter.default for name, parameter in added.items()})


def with_methods_of(before: SweepConfig, config: SweepConfig) -> SweepConfig:
    """Return `config` with the methods of the started experiment, unless it names others itself."""
    return _with_fixed(config, {name: before.fixed[name] for name in _added(before.model) if name in before.fixed})


def add_methods_of_then(data: MutableMapping[str, object]) -> None:
    """Write the old value of each parameter that the resolved configuration `data` does not know under `fixed`."""
    model, fixed, parameters = data.get("model"), data.get("fixed"), data.get("parameters")
    if not isinstance(model, str) or not isinstance(parameters, dict):
        return
    known = fixed if isinstance(fixed, dict) else {}
    then = values_of_then(model).items()
    missing = {name: value for name, value in then if name not in known and name not in parameters}
    if missing:
        data["fixed"] = {**known, **missing}


def values_of_then(model: str, stage: str | None = None) -> dict[str, Scalar]:
    """Return the old value of each such parameter of a model, or of those of one stage."""
    return {n: p.before for n, p in _added(model).items() if p.before is not None and stage in (None, p.stage)}


def _added(model: str) -> Mapping[str, Parameter]:
    entry = MODELS.get(model)
    return {n: p for n, p in entry.parameters.items() if p.before is not None} if entry else {}


def _with_fixed(config: SweepConfig, values: Mapping[str, Scalar]) -> SweepConfig:
    """Return `config` with the values that it does not set itself."""
    new = {name: v for name, v in values.items() if name not in config.fixed and name not in config.parameters}
    return config.model_copy(update={"fixed": {**config.fixed, **new}}) if new else config
