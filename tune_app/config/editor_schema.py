"""JSON schema of a space file. Editors use it to complete and check keys, each model's parameters and its metrics."""

from collections.abc import Mapping
from math import inf

from pydantic import JsonValue

from search_spaces.distributions import Categorical, Float, Int
from trainables.catalog import MODELS
from trainables.model import Metric, Model, Parameter
from tune_app.config.schema import SweepConfig

Node = dict[str, JsonValue]


def schema() -> Node:
    """Return the JSON schema of a space file. Names and help of parameters and metrics depend on `model`."""
    document: Node = SweepConfig.model_json_schema()
    shared = {
        "ChangedRange": _changed_range(),
        "ChangedMetric": {**_definition(document, "MetricConfig"), "required": []},
        "Profile": _profile(document),
    }
    models = {f"{name}_{part}": node for name, model in MODELS.items() for part, node in _parts(name, model).items()}
    _block(document, "$defs").update({**shared, **models})
    _block(document, "properties")["profiles"] = {
        "description": SweepConfig.model_fields["profiles"].description,
        "default": {},
        "type": "object",
        "additionalProperties": _ref("Profile"),
    }
    document["allOf"] = [_of_model(name) for name in MODELS]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **document}


def _of_model(name: str) -> Node:
    """Return the rule for files of one model. A profile that names a model itself may use the names of both."""
    file: Node = {
        "metric": _ref(f"{name}_metric"),
        "metrics": {"items": _ref(f"{name}_metric")},
        "parameters": _ref(f"{name}_ranges"),
        "fixed": _ref(f"{name}_values"),
        "baselines": {"items": _ref(f"{name}_values")},
    }
    profile: Node = {**file, "fixed": _ref(f"{name}_values_or_null")}
    overlay: Node = {"if": {"not": {"required": ["model"]}}, "then": {"properties": profile}}
    return {
        "if": {"properties": {"model": {"const": name}}, "required": ["model"]},
        "then": {"properties": {**file, "profiles": {"additionalProperties": overlay}}},
    }


def _parts(name: str, model: Model) -> dict[str, Node]:
    parameters, metrics = model.parameters, model.metrics
    names: JsonValue = [{"const": one, "description": _metric_help(metric)} for one, metric in metrics.items()]
    return {
        "metric": {
            "description": f"A metric of {name}, by name or as a block.",
            "anyOf": [{"oneOf": names}, {"type": "object", "properties": {"name": {"oneOf": names}}}],
        },
        "ranges": _named(f"Searched parameters of {name}.", {one: _range(p) for one, p in parameters.items()}),
        "values": _named(f"Values of parameters of {name}.", {one: _value(p) for one, p in parameters.items()}),
        "values_or_null": _named(
            f"Values of parameters of {name}. null removes one.", {one: _or_null(p) for one, p in parameters.items()}
        ),
    }


def _named(description: str, properties: Mapping[str, JsonValue]) -> Node:
    return {"description": description, "properties": dict(properties), "additionalProperties": False}


def _range(parameter: Parameter) -> Node:
    """Return the keys of a searched parameter whose values the model restricts.

    The shared part of the schema checks the rest. This part says nothing of null, with which a profile removes one.
    """
    value = _limits(parameter)
    if parameter.choices:
        keys: Node = {"type": {"const": "categorical"}, "choices": {"items": value}}
    else:
        types = ["int", "categorical"] if _whole(parameter) else ["float", "int", "categorical"]
        keys = {"type": {"enum": [*types]}, "low": value, "high": value, "choices": {"items": value}}
    if parameter.stage == "training":
        keys["stage"] = {"const": "training"}
    return {"description": _parameter_help(parameter), "properties": keys}


def _value(parameter: Parameter) -> Node:
    return {"description": _parameter_help(parameter), "default": parameter.default, **_limits(parameter)}


def _or_null(parameter: Parameter) -> Node:
    """Return the node of a value that a profile may remove."""
    about: Node = {"description": _parameter_help(parameter), "default": parameter.default}
    return {**about, "anyOf": [_limits(parameter), {"type": "null"}]}


def _limits(parameter: Parameter) -> Node:
    """Return the type and bounds of a value."""
    if parameter.choices:
        return {"enum": [*parameter.choices]}
    bounds = {"exclusiveMinimum": parameter.above, "minimum": parameter.low, "maximum": parameter.high}
    finite: Node = {key: bound for key, bound in bounds.items() if abs(bound) < inf}
    return {"type": "integer" if _whole(parameter) else "number", **finite}


def _whole(parameter: Parameter) -> bool:
    return isinstance(parameter.default, int) and not isinstance(parameter.default, bool)


def _parameter_help(parameter: Parameter) -> str:
    """Return the help text with default, bounds or choices, and the stage."""
    if parameter.choices:
        allowed = f" Choices: {', '.join(map(_written, parameter.choices))}."
    else:
        bounds = [("above", parameter.above), ("from", parameter.low), ("up to", parameter.high)]
        given = [f"{word} {bound:g}" for word, bound in bounds if abs(bound) < inf]
        allowed = f" Allowed: {', '.join(given)}." if given else ""
    sampling = " `stage: sampling` searches it inside each evaluation." if parameter.stage == "sampling" else ""
    return f"{parameter.help}. Default: {_written(parameter.default)}.{allowed}{sampling}"


def _written(value: object) -> str:
    """Return a value as YAML writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _metric_help(metric: Metric) -> str:
    """Return the help text with direction, data set and warning."""
    direction = "Higher is better." if metric.maximize else "Lower is better."
    data = f" Exists only with data: {metric.data}." if metric.data else ""
    warning = f" Warning: {metric.warning}" if metric.warning else ""
    return f"{metric.help}. {direction}{data}{warning}"


def _profile(document: Node) -> Node:
    """Return the definition of a profile: the keys of the file, none of them required, with parts of ranges."""
    properties: Node = {key: {"$ref": f"#/properties/{key}"} for key in SweepConfig.model_fields if key != "profiles"}
    fields = SweepConfig.model_fields
    properties["metric"] = {
        "description": fields["metric"].description,
        "anyOf": [_ref("ChangedMetric"), {"type": "string"}],
    }
    properties["parameters"] = {
        "description": f"{fields['parameters'].description} null removes one from the search.",
        "type": "object",
        "additionalProperties": {"anyOf": [_ref("ChangedRange"), {"type": "null"}]},
    }
    value = _block(_block(document, "properties"), "fixed")["additionalProperties"]
    properties["fixed"] = {
        "description": f"{fields['fixed'].description} null removes one.",
        "type": "object",
        "additionalProperties": {"anyOf": [value, {"type": "null"}]},
    }
    description = "Overlay of the file: the keys that differ. It cannot hold profiles."
    return {"description": description, "type": "object", "properties": properties, "additionalProperties": False}


def _changed_range() -> Node:
    """Return the definition of a range in a profile, which may hold only the keys that differ."""
    properties: dict[str, JsonValue] = {}
    for kind in (Categorical, Int, Float):  # bounds of a float accept whole numbers, so its keys come last
        properties |= kind.model_json_schema()["properties"]
    properties["type"] = {"description": "float, int or categorical.", "enum": ["float", "int", "categorical"]}
    properties = {name: _without_default(node) for name, node in properties.items()}
    description = "A searched parameter, or the keys of it that differ."
    return {"description": description, "type": "object", "properties": properties, "additionalProperties": False}


def _without_default(node: JsonValue) -> JsonValue:
    """Return the node of a key that keeps the value from the file if it is absent."""
    return {key: value for key, value in node.items() if key != "default"} if isinstance(node, dict) else node


def _definition(document: Node, name: str) -> Node:
    return _block(_block(document, "$defs"), name)


def _block(node: Node, key: str) -> Node:
    block = node[key]
    assert isinstance(block, dict)
    return block


def _ref(name: str) -> Node:
    return {"$ref": f"#/$defs/{name}"}
