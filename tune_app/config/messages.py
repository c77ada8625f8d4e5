"""Pydantic's errors as sentences: the place, the expected and the actual value, and the nearest valid word."""

import re
from collections.abc import Iterator
from inspect import isclass
from typing import get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from search_spaces.distributions import Categorical, Float, Int
from trainables.catalog import MODELS
from tune_app.config.checks import nearest
from tune_app.config.schema import SweepConfig
from tune_app.config.strict_yaml import Key

DISTRIBUTIONS: dict[str, type[BaseModel]] = {"float": Float, "int": Int, "categorical": Categorical}
EXPECTED = {
    "float_type": "a number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "string_type": "a string",
    "bool_type": "true or false",
    "model_type": "a block of `key: value`",
    "model_attributes_type": "a block of `key: value`",
    "dict_type": "a block of `key: value`",
    "list_type": "a list",
    "tuple_type": "a list",
    "finite_number": "a finite number",
    "greater_than": "above {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "below {lt}",
    "less_than_equal": "at most {le}",
    "string_pattern_mismatch": "letters, digits, dots, dashes and underscores, at most 64, no dot or dash first",
}
FOLLOWS_ANOTHER = "default_factory_not_called"
"""Pydantic reports this when an earlier field failed; skip it."""
SECRET = re.compile(r"(key|token|password|secret)$", re.IGNORECASE)


def place(error: ErrorDetails) -> Key:
    """Return the configuration key that the error is about.

    Drop the distribution type that pydantic inserts into the key.
    """
    key = error["loc"]
    return key[:2] + key[3:] if key[:1] == ("parameters",) and error["type"] != "fault" else key


def sentence(error: ErrorDetails, model: str) -> tuple[str, str | None]:
    """Return the message for a pydantic error (expected and actual value) and an optional hint."""
    kind, value, ctx = error["type"], error["input"], error.get("ctx", {})
    if kind == "fault":
        return ctx["message"], ctx["hint"] or None
    if kind == "extra_forbidden":
        return _unknown_key(error["loc"])
    if kind == "missing":
        return "is required and missing", None
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return _without_type(str(error["loc"][-1]), value, model)
    if kind in ("literal_error", "enum"):
        return _not_in_list(str(ctx["expected"]), value)
    if kind in ("too_short", "string_too_short"):
        return "must not be empty", None
    if kind == "too_long":
        return f"has at most {ctx['max_length']} entries", None
    if kind in EXPECTED:
        return f"must be {EXPECTED[kind].format(**ctx)}, not {shown(value)}", None
    return error["msg"].removeprefix("Value error, "), None


def shown(value: object) -> str:
    """Return a value as the file writes it, shortened."""
    if isinstance(value, dict):
        return "a block"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else f"{value!r:.60}"


def _unknown_key(key: Key) -> tuple[str, str]:
    word = str(key[-1])
    if SECRET.search(word):
        return "unknown key", "secrets do not belong in this file; log in with `wandb login` or set WANDB_API_KEY"
    elsewhere = [*_places(word)] if len(key) == 1 else []
    if elsewhere:
        return "unknown key", f"did you mean {' or '.join(elsewhere)}?"
    return "unknown key", nearest(word, [*_block(key[:-1]).model_fields])


def _places(word: str) -> Iterator[str]:
    """Yield the keys below the top level that have this name."""
    for block, field in SweepConfig.model_fields.items():
        if any(issubclass(kind, BaseModel) and word in kind.model_fields for kind in _types(field.annotation)):
            yield f"{block}.{word}"
    if any(word in model.parameters for model in MODELS.values()):
        yield from (f"parameters.{word}", f"fixed.{word}")


def _block(key: Key) -> type[BaseModel]:
    """Return the class of the block at a key that pydantic names."""
    if key[:1] == ("parameters",):
        return DISTRIBUTIONS[str(key[2])]
    block: type[BaseModel] = SweepConfig
    for name in key:
        if not isinstance(name, int):  # all elements of a list have the same type
            block = next(t for t in _types(block.model_fields[name].annotation) if issubclass(t, BaseModel))
    return block


def _types(annotation: object) -> Iterator[type]:
    """Yield the classes in an annotation."""
    if isclass(annotation) and not get_args(annotation):
        yield annotation
    for part in get_args(annotation):
        yield from _types(part)


def _without_type(name: str, value: object, model: str) -> tuple[str, str | None]:
    if model in MODELS and name not in MODELS[model].parameters:  # a misspelt name in parameters.NAME.high=..
        return f"{model} has no parameter of that name", nearest(name, [*MODELS[model].parameters])
    kinds = [*DISTRIBUTIONS]
    if not isinstance(value, dict) or "type" not in value:
        return f"needs a type: {', '.join(kinds)}", None
    return f"type must be one of {', '.join(kinds)}, not {shown(value['type'])}", nearest(str(value["type"]), kinds)


def _not_in_list(expected: str, value: object) -> tuple[str, str | None]:
    words = re.findall(r"'([^']*)'", expected)
    if not words:
        return f"must be {expected}, not {shown(value)}", None
    if len(words) == 1:
        return f"must be {words[0]}, not {shown(value)}", None
    hint = nearest(value, words) if isinstance(value, str) else ""
    return f"must be one of {', '.join(words)}, not {shown(value)}", hint if hint.startswith("did") else None
