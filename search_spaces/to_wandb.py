"""A space as the parameters of a W&B Sweep."""

from typing import Any

from search_spaces.distributions import Categorical, Distribution, Float
from search_spaces.space import Space


def parameters(space: Space) -> dict[str, dict[str, Any]]:
    """Return the `parameters` block of both stages. W&B has no `when`, so every parameter is listed."""
    return {name: parameter(p) for name, p in space.parameters.items()}


def parameter(p: Distribution) -> dict[str, Any]:
    """Return one entry of the block."""
    if isinstance(p, Categorical):
        return {"values": list(p.choices)}
    bounds: dict[str, Any] = {"min": p.low, "max": p.high}  # of one type: W&B refuses an int beside a float
    if isinstance(p, Float):
        if p.step is not None:
            return {"distribution": "q_uniform", **bounds, "q": p.step}
        return {"distribution": "log_uniform_values" if p.log else "uniform", **bounds}
    if p.log:
        return {"distribution": "q_log_uniform_values", **bounds, "q": 1}
    if p.step != 1:
        return {"distribution": "q_uniform", **bounds, "q": p.step}
    return {"distribution": "int_uniform", **bounds}
