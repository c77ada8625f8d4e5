"""Best values that lie at a bound of their range."""

from collections.abc import Mapping
from math import log

from search_spaces.distributions import Categorical, Float, Int, Scalar
from trainables.catalog import MODELS
from tune_app.config.schema import SweepConfig
from tune_app.plan import RUNG_SETTINGS

NEAR = 0.05
"""Share of a range, on its own scale, that counts as the bound."""


def near_bounds(config: SweepConfig, params: Mapping[str, Scalar]) -> list[str]:
    """Return a sentence for each searched number at a bound beyond which the model still accepts values."""
    numbers = [(name, p) for name, p in config.parameters.items() if not isinstance(p, Categorical) and name in params]
    return [line for name, p in numbers if (line := _sentence(config, name, p, params[name]))]


def _sentence(config: SweepConfig, name: str, p: Float | Int, value: Scalar) -> str | None:
    if p.complaint(value):
        return None
    low, high, here = (log(x) if p.log else float(x) for x in (p.low, p.high, float(value)))
    position = (here - low) / (high - low)
    sampling = p.stage == "sampling"
    # The inner search tries the midpoints of equal parts of the range, so the outermost one counts as the bound.
    near = 0.5 / RUNG_SETTINGS + 1e-9 if sampling else NEAR
    model = MODELS[config.model].parameters[name]
    if position <= near and p.low not in (model.low, model.above):
        bound = f"lower bound {p.low:g}"
    elif position >= 1 - near and p.high != model.high:
        bound = f"upper bound {p.high:g}"
    else:
        return None
    where = "is the tried value nearest to" if sampling else "lies at"
    return f"{name} {value:.4g} {where} its {bound}: widen the range; the best value may lie beyond"
