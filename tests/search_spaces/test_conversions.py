"""Optuna and W&B get the same space that checks our values."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search_spaces import to_wandb
from search_spaces.distributions import Categorical, Distribution, Float, Int, Scalar
from search_spaces.space import Space
from search_spaces.to_optuna import distribution, suggest
from tests.search_spaces.spaces import DISTRIBUTIONS, spaces

optuna.logging.set_verbosity(optuna.logging.WARNING)


def drawn(space: Space, seed: int, fixed: dict[str, Scalar] | None = None) -> dict[str, Scalar]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return suggest(study.ask(), space, fixed)


def in_wandb(value: Scalar, entry: dict[str, Any]) -> bool:
    return value in entry["values"] if "values" in entry else bool(entry["min"] <= value <= entry["max"])


@given(p=DISTRIBUTIONS, seed=st.integers(0, 1000))
def test_what_optuna_suggests_is_in_our_range_and_that_of_wandb(p: Distribution, seed: int) -> None:
    searched = p.model_copy(update={"stage": "training"})
    value = drawn(Space({"x": searched}), seed)["x"]
    assert p.complaint(value) is None
    assert in_wandb(value, to_wandb.parameter(p))


@given(p=DISTRIBUTIONS, k=st.integers(1, 9))
def test_midpoints_are_in_every_range(p: Distribution, k: int) -> None:
    for value in p.midpoints(k):
        assert p.complaint(value) is None
        assert in_wandb(value, to_wandb.parameter(p))
        assert distribution(p)._contains(distribution(p).to_internal_repr(value))


@given(p=DISTRIBUTIONS)
def test_wandb_gets_bounds_of_one_type(p: Distribution) -> None:
    entry = to_wandb.parameter(p)
    assert len({type(entry[key]) for key in ("min", "max", "q") if key in entry} - {type(None)}) <= 1


@settings(max_examples=50)
@given(space=spaces(), seed=st.integers(0, 100))
def test_a_suggestion_holds_exactly_the_active_training_parameters(space: Space, seed: int) -> None:
    params = drawn(space, seed)
    assert set(params) == {name for name in space.training if space.active(name, params)}
    assert set(to_wandb.parameters(space)) >= set(params)


@given(space=spaces(), seed=st.integers(0, 100))
def test_a_fixed_value_is_kept_and_not_drawn(space: Space, seed: int) -> None:
    fixed = {name: p.midpoints(1)[0] for name, p in space.training.items()}
    params = drawn(space, seed, fixed)
    assert params.items() <= fixed.items()


@pytest.mark.parametrize(
    ("ours", "optunas", "wandbs"),
    [
        (Float(low=0, high=1), FloatDistribution(0.0, 1.0), {"distribution": "uniform", "min": 0.0, "max": 1.0}),
        (
            Float(low=1, high=50, log=True),
            FloatDistribution(1.0, 50.0, log=True),
            {"distribution": "log_uniform_values", "min": 1.0, "max": 50.0},
        ),
        (
            Float(low=0, high=1, step=0.25),
            FloatDistribution(0.0, 1.0, step=0.25),
            {"distribution": "q_uniform", "min": 0.0, "max": 1.0, "q": 0.25},
        ),
        (Int(low=1, high=9), IntDistribution(1, 9), {"distribution": "int_uniform", "min": 1, "max": 9}),
        (
            Int(low=10, high=232, log=True),
            IntDistribution(10, 232, log=True),
            {"distribution": "q_log_uniform_values", "min": 10, "max": 232, "q": 1},
        ),
        (
            Int(low=4, high=32, step=4),
            IntDistribution(4, 32, step=4),
            {"distribution": "q_uniform", "min": 4, "max": 32, "q": 4},
        ),
        (Categorical(choices=("a", 2)), CategoricalDistribution(("a", 2)), {"values": ["a", 2]}),
    ],
)
def test_each_distribution_has_its_counterparts(ours: Distribution, optunas: Any, wandbs: dict[str, Any]) -> None:
    assert distribution(ours) == optunas
    assert to_wandb.parameter(ours) == wandbs
