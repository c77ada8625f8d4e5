"""The keys that may change when a sweep is resumed."""

from __future__ import annotations

from typing import Any

import pytest

from tune_app.config.load import load
from tune_app.errors import ConfigError
from tune_app.experiment.changes import accepted_changes


def test_equal_configurations_have_no_changes() -> None:
    assert accepted_changes(load("ncsn_space.yaml"), load("ncsn_space.yaml")) == {}


@pytest.mark.parametrize(
    "change",
    [
        {"search.trials": 50},
        {"budget.hours": 3.0},
        {"budget.gpu_hours": 3.0},
        {"budget.cpu_hours": 3.0},
        {"resources.gpu": 1},
        {"failures.retries": 7},
        {"failures.checkpoint_kimg": 100.0},
        {"wandb.mode": "offline"},
        {"notify.webhook": "https://example.org/hook"},
    ],
)
def test_keys_that_do_not_decide_the_numbers_may_change(change: dict[str, Any]) -> None:
    (key,) = change
    changes = accepted_changes(load("ncsn_space.yaml"), load("ncsn_space.yaml", set=change))
    assert changes.keys() == {key}
    assert changes[key][1] == change[key]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("search.seed", 1, "search.seed: the experiment started with 0, now it is 1"),
        ("search.sampler", "random", "search.sampler: the experiment started with tpe, now it is random"),
        ("scheduler.max_kimg", 30000, "scheduler.max_kimg: the experiment started with 20000, now it is 30000"),
        ("evaluation.samples", 64, "evaluation.samples: the experiment started with 512, now it is 64"),
        ("data.name", "shapes", "data.name: the experiment started with cifar10, now it is shapes"),
        ("name", "other", "name: the experiment started with ncsn, now it is other"),
        ("fixed.width", 32, "fixed.width: the experiment started with"),
        ("parameters.lr.high", 0.5, "parameters.lr.high: the experiment started with"),
    ],
)
def test_a_key_that_decides_the_numbers_is_refused_with_both_values(key: str, value: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        accepted_changes(load("ncsn_space.yaml"), load("ncsn_space.yaml", set={key: value, "search.trials": 99}))
    assert said in str(caught.value)
    assert "a resumed one may change search.trials, budget, resources, failures, recheck, wandb, notify" in str(
        caught.value
    )
    assert "search.trials: the" not in str(caught.value)
