"""Where a sweep's best value leans on a bound of its range."""

from __future__ import annotations

from collections.abc import Mapping
from math import log

from search_spaces.distributions import Categorical, Float, Int, Scalar
from trainables.catalog import MODELS
from tune_app.config.schema import SweepConfig
from tune_app.plan import RUNG_SETTINGS

NEAR = 0.05
"""The part of a range, on its own scale, that lies at a bound."""


def near_bounds(config: SweepConfig, params: Mapping[str, Scalar]) -> list[str]:
    """A sentence for each searched number of `params` at a bound that the model itself would let it pass."""
    numbers = [(name, p) for name, p in config.parameters.items() if not isinstance(p, Categorical) and name in params]
    return [line for name, p in numbers if (line := _leaning(config, name, p, params[name]))]


def _leaning(config: SweepConfig, name: str, p: Float | Int, value: Scalar) -> str | None:
    if p.complaint(value):
        return None
    low, high, here = (log(x) if p.log else float(x) for x in (p.low, p.high, float(value)))
    place = (here - low) / (high - low)
    inner = p.stage == "sampling"
    # the inner search tries the middles of some parts of the range: the outermost is as near as it comes to a bound
    near = 0.5 / RUNG_SETTINGS + 1e-9 if inner else NEAR
    model = MODELS[config.model].parameters[name]
    if place <= near and p.low not in (model.low, model.above):
        bound = f"lower bound {p.low:g}"
    elif place >= 1 - near and p.high != model.high:
        bound = f"upper bound {p.high:g}"
    else:
        return None
    where = "is the value tried nearest to" if inner else "lies at"
    return f"{name} {value:.4g} {where} its {bound}: widen it; the best value may lie beyond"
