"""The models of plug-ins as plain data, from which an experiment can be read without running anybody's code."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from trainables.catalog import Contents
from trainables.contract import Plugin, PluginError, RunSpec
from trainables.model import Metric, Model, Parameter

PLAIN = ("uses_images", "side_multiple", "descending", "version")
"""Fields of a Model that are plain data."""


def describe(contents: Contents) -> dict[str, Any]:
    """Return the models and metrics of a plug-in as JSON values. Functions are left out."""
    description = {
        "models": {name: _model(model) for name, model in contents.models.items()},
        "metrics": {name: _changed(metric) for name, metric in contents.metrics.items()},
    }
    plain: dict[str, Any] = json.loads(json.dumps(description))
    return plain


def described(plugin: Plugin, description: Mapping[str, Any]) -> Contents:
    """Return the contents that `describe` wrote down. Their models cannot be built. Raise PluginError."""
    try:
        models = {name: _described(plugin, entry) for name, entry in description.get("models", {}).items()}
        metrics = {name: Metric(**entry) for name, entry in description.get("metrics", {}).items()}
    except (TypeError, AttributeError, KeyError) as error:
        raise PluginError(f"the description of {plugin.name} is damaged ({error})") from None
    return Contents(plugin, models, metrics, described=True)


def _model(model: Model) -> dict[str, Any]:
    return {
        "parameters": {name: _changed(parameter) for name, parameter in model.parameters.items()},
        "metrics": {name: _changed(metric) for name, metric in model.metrics.items()},
        **{name: getattr(model, name) for name in PLAIN},
    }


def _described(plugin: Plugin, entry: Mapping[str, Any]) -> Model:
    def refuse(_spec: RunSpec) -> Any:
        raise PluginError(f"the code of {plugin.name} has not been loaded")

    return Model(
        parameters={name: _parameter(values) for name, values in entry["parameters"].items()},
        metrics={name: Metric(**values) for name, values in entry["metrics"].items()},
        run=refuse,
        uses_images=bool(entry["uses_images"]),
        side_multiple=int(entry["side_multiple"]),
        descending=[(larger, smaller) for larger, smaller in entry["descending"]],
        version=int(entry["version"]),
    )


def _parameter(values: Mapping[str, Any]) -> Parameter:
    return Parameter(**{**values, "choices": tuple(values.get("choices", ()))})


def _changed(item: Parameter | Metric) -> dict[str, Any]:
    """Return the plain fields that differ from their default, which for a bound may be infinite."""
    usual = {field.name: field.default for field in fields(item)}
    return {name: value for name, value in asdict(item).items() if value != usual[name] and not callable(value)}
