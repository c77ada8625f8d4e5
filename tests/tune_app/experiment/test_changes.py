"""The keys that may change when a sweep is resumed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.events import changed, started
from tune_app.config.load import load
from tune_app.errors import ConfigError, InputError
from tune_app.experiment.changes import accepted_changes, changed_versions, check_model
from tune_app.experiment.folder import Experiment
from tune_app.experiment.records import Records


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
    assert (
        "a resumed one may change search.trials, data.path, budget, resources, failures, recheck, wandb, notify"
        in str(caught.value)
    )
    assert "search.trials: the" not in str(caught.value)


def resumed_with(tmp_path: Path, **logged: Any) -> Callable[[], None]:
    """Return the check of an experiment that logged these fields at its start, against today's model."""
    config = load("beta_vae_space.yaml")
    records = Records([changed(started(), **{"model_version": 1, "constants": config.constants, **logged})])
    return lambda: check_model(Experiment(tmp_path), records, config)


def test_a_model_that_has_not_changed_is_resumed(tmp_path: Path) -> None:
    resumed_with(tmp_path)()
    resumed_with(tmp_path, model_version=None, constants={})()  # a log of version 0.1
    resumed_with(tmp_path, constants={"of_an_old_version": 7})()


@pytest.mark.parametrize(
    ("logged", "said"),
    [
        ({"constants": {"ema": 0.5}}, "ema was 0.5, now it is 0"),
        ({"model_version": 7}, "its code has version 1 instead of 7"),
    ],
)
def test_a_model_that_has_changed_is_not(logged: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="beta_vae has changed since the experiment started") as refused:
        resumed_with(tmp_path, **logged)()
    assert said in str(refused.value)


def test_other_versions_of_the_libraries_are_named() -> None:
    records = Records([changed(started(), versions={"torch": "2.14.1", "ray": "2.60.0", "gone": "1"})])
    now = {"torch": "2.15.0", "ray": "2.60.0", "new": "1"}
    assert changed_versions(records, now) == {"version of torch": ["2.14.1", "2.15.0"]}
