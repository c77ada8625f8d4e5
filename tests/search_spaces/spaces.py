"""Strategies of Hypothesis for distributions and spaces."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import strategies as st

from search_spaces.distributions import Categorical, Distribution, Float, Int
from search_spaces.space import Space

BOUNDS = st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: round(x, 6))
POSITIVE = st.floats(1e-6, 1e6).map(lambda x: float(f"{x:.6g}"))
STAGES = st.sampled_from(["training", "sampling"])


@st.composite
def floats(draw: st.DrawFn) -> Float:
    log = draw(st.booleans())
    low, high = sorted(draw(st.lists(POSITIVE if log else BOUNDS, min_size=2, max_size=2, unique=True)))
    return Float(low=low, high=high, log=log, stage=draw(STAGES))


@st.composite
def stepped_floats(draw: st.DrawFn) -> Float:
    low, step = (Decimal(draw(st.integers(1, 1000))) / 100 for _ in range(2))
    high = low + step * draw(st.integers(1, 50))
    return Float(low=float(low), high=float(high), step=float(step), stage=draw(STAGES))


@st.composite
def ints(draw: st.DrawFn) -> Int:
    log = draw(st.booleans())
    step = 1 if log else draw(st.integers(1, 9))
    low = draw(st.integers(1, 1000) if log else st.integers(-1000, 1000))
    return Int(low=low, high=low + step * draw(st.integers(1, 100)), log=log, step=step, stage=draw(STAGES))


@st.composite
def categoricals(draw: st.DrawFn) -> Categorical:
    scalars = st.integers(2, 99) | st.sampled_from(["unet", "refinenet", 0.5, True, False])
    return Categorical(choices=tuple(draw(st.lists(scalars, min_size=1, max_size=5, unique=True))), stage=draw(STAGES))


DISTRIBUTIONS = st.one_of(floats(), stepped_floats(), ints(), categoricals())


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    """Draw a space of up to five parameters. Some are searched only if an earlier one has certain values."""
    parameters: dict[str, Distribution] = {}
    for i in range(draw(st.integers(1, 5))):
        p: Distribution = draw(DISTRIBUTIONS)
        parents = [n for n, other in parameters.items() if other.stage == "training" or p.stage == "sampling"]
        if parents and draw(st.booleans()):
            parent = draw(st.sampled_from(parents))
            p = p.model_copy(update={"when": {parent: tuple(parameters[parent].midpoints(2))}})
        parameters[f"p{i}"] = p
    return Space(dict(reversed(parameters.items())))
