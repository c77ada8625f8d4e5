"""The models, their parameters with defaults and bounds, and their metrics."""

from math import isfinite

from pydantic import JsonValue

from trainables import plugin_code
from trainables.catalog import MODELS
from trainables.model import Metric, Parameter
from tune_app.formatting import short


def models_document(names: list[str]) -> dict[str, JsonValue]:
    """Return the JSON document of the models with these names."""
    return {name: _entry(name) for name in names}


def all_models() -> list[str]:
    """Return the names of the models in the catalog and of those in installed packages."""
    return list(dict.fromkeys([*MODELS, *plugin_code.installed()]))


def model_lines(name: str, *, whole: bool) -> list[str]:
    """Return a model as text: its source, and with `whole` its parameters and metrics."""
    if name not in MODELS:
        return [f"{name}: in an installed package; `tune_app models {name}` shows it"]
    model, plugins = MODELS[name], MODELS.plugins_of(name)
    source = ", ".join(f"{plugin.name} {plugin.version}".strip() for plugin in plugins) or "built in"
    kind = "a model of images" if model.uses_images else "no model of images"
    lines = [f"{name}: {kind} ({source}), {len(model.parameters)} parameters, metric {next(iter(model.metrics))}"]
    if not whole:
        return lines
    for stage in ("training", "sampling"):
        rows = [(key, p) for key, p in model.parameters.items() if p.stage == stage]
        lines += [f"  parameters of {stage}:"] if rows else []
        lines += [f"    {key:18} {_values(parameter)}: {parameter.help}" for key, parameter in rows]
    lines.append("  metrics:")
    return [*lines, *(f"    {key:18} {_direction(metric)}: {metric.help}" for key, metric in model.metrics.items())]


def _entry(name: str) -> dict[str, JsonValue]:
    model = MODELS[name]
    return {
        "uses_images": model.uses_images,
        "source": [plugin.name for plugin in MODELS.plugins_of(name)],
        "parameters": {key: _parameter(parameter) for key, parameter in model.parameters.items()},
        "metrics": {
            key: {"goal": "maximize" if metric.maximize else "minimize", "help": metric.help}
            for key, metric in model.metrics.items()
        },
    }


def _parameter(parameter: Parameter) -> dict[str, JsonValue]:
    bounds = {"low": parameter.low, "high": parameter.high, "above": parameter.above}
    return {
        "default": parameter.default,
        "stage": parameter.stage,
        **{key: value for key, value in bounds.items() if isfinite(value)},
        **({"choices": list(parameter.choices)} if parameter.choices else {}),
        "help": parameter.help,
    }


def _values(parameter: Parameter) -> str:
    """Return the default and what else is allowed."""
    shown = short(parameter.default)
    if parameter.choices:
        return f"{shown} ({', '.join(map(str, parameter.choices))})"
    low = f"above {short(parameter.above)}" if isfinite(parameter.above) else ""
    low = low or (f"from {short(parameter.low)}" if isfinite(parameter.low) else "")
    high = f"to {short(parameter.high)}" if isfinite(parameter.high) else ""
    bounds = " ".join(part for part in (low, high) if part)
    return f"{shown} ({bounds})" if bounds else shown


def _direction(metric: Metric) -> str:
    return "higher is better" if metric.maximize else "lower is better"
