"""Best values that lie at a bound of their range, and the setting that widens it."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log

from pydantic import ValidationError

from search_spaces.distributions import Categorical, Float, Int, Scalar
from trainables.catalog import MODELS
from tune_app.config.schema import SweepConfig
from tune_app.plan import RUNG_SETTINGS

NEAR = 0.05
"""Share of a range, on its own scale, that counts as the bound."""
WIDER = 10.0
"""Factor by which a logarithmic range is widened. A linear one gets as much again."""


@dataclass(frozen=True)
class AtBound:
    """A best value at a bound of its range."""

    parameter: str
    sentence: str
    setting: str | None
    """KEY=VALUE that widens the range; None if the configuration would refuse it."""


def at_bounds(config: SweepConfig, params: Mapping[str, Scalar]) -> list[AtBound]:
    """Return each searched number at a bound beyond which the model still accepts values."""
    numbers = [(name, p) for name, p in config.parameters.items() if not isinstance(p, Categorical) and name in params]
    return [found for name, p in numbers if (found := _at_bound(config, name, p, params[name]))]


def _at_bound(config: SweepConfig, name: str, p: Float | Int, value: Scalar) -> AtBound | None:
    if p.complaint(value):
        return None
    low, high, here = (log(x) if p.log else float(x) for x in (p.low, p.high, float(value)))
    position = (here - low) / (high - low)
    sampling = p.stage == "sampling"
    # The inner search tries the midpoints of equal parts of the range, so the outermost one counts as the bound.
    near = 0.5 / RUNG_SETTINGS + 1e-9 if sampling else NEAR
    model = MODELS[config.model].parameters[name]
    if position <= near and p.low not in (model.low, model.above):
        side, bound = "low", p.low
    elif position >= 1 - near and p.high != model.high:
        side, bound = "high", p.high
    else:
        return None
    where = "is the tried value nearest to" if sampling else "lies at"
    kind = "lower" if side == "low" else "upper"
    sentence = f"{name} {value:.4g} {where} its {kind} bound {bound:g}: the best value may lie beyond"
    return AtBound(name, sentence, _wider(config, name, p, side))


def _wider(config: SweepConfig, name: str, p: Float | Int, side: str) -> str | None:
    """Return the setting that moves one bound outward, as far as the model allows."""
    model, span = MODELS[config.model].parameters[name], p.high - p.low
    if side == "low":
        bound = p.low / WIDER if p.log or p.low - span <= model.above else p.low - span
        bound = max(bound, model.low)
    else:
        bound = min(p.high * WIDER if p.log else p.high + span, model.high)
    if isinstance(p, Int):
        bound = round(bound)
    data = config.model_dump(mode="json", exclude={"profiles"})
    data["parameters"][name][side] = bound
    try:
        type(config).model_validate(data)
    except ValidationError:
        return None
    return f"parameters.{name}.{side}={bound:g}"
