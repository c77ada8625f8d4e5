"""The end of a sweep: fresh draws decide, ties are said, optimism is measured, two objectives leave a front."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tune_app.experiment.test_records import reported
from tune_app.answer.summary import summarise
from tune_app.answer.text import answer_lines
from tune_app.config.load import load
from tune_app.config.schema import SweepConfig
from tune_app.driver.sweep import check_basis
from tune_app.driver.trial_spec import Basis
from tune_app.errors import InputError
from tune_app.experiment.folder import Experiment
from tune_app.experiment.log import Event
from tune_app.experiment.records import Records, best, estimate, front

TIME = "2026-01-01T00:00:00.000+00:00"
END = 22.0


def asked(trial: str, **params: Any) -> Event:
    return {"event": "asked", "time": TIME, "trial": trial, "params": params, "source": "sampler"}


def ended(trial: str) -> Event:
    return {"event": "ended", "time": TIME, "trial": trial, "state": "completed", "reason": "max_kimg", "kimg": END,
            "metrics": {}}  # fmt: skip


def rechecked(trial: str, draws: list[float], same: list[float], stderr: float = 0.01) -> Event:
    return {
        "event": "rechecked", "time": TIME, "trial": trial, "kimg": END, "seconds": 1.0, "sampling": {"step_size": 2.0},
        "draws": [{"kid": kid, "kid_stderr": stderr} for kid in draws], "same": [{"kid": kid} for kid in same],
        "pictures": {}, "features": "cnn 0123",
    }  # fmt: skip


def trial(name: str, early: float, late: float, **metrics: float) -> list[Event]:
    """One that ran to its end, evaluated at both rungs."""
    params = {"sigma_begin": 2.0, "lr": 1.5e-3}
    reports = [reported(name, 11.0, kid=early), {**reported(name, END, "stop", kid=late, **metrics)}]
    return [asked(name, **params), *reports, ended(name)]


@pytest.fixture
def config() -> SweepConfig:
    return load("ncsn_space.yaml", profile="laptop", set={"scheduler.max_kimg": END, "scheduler.grace_kimg": 11.0})


def summary(config: SweepConfig, events: list[Event]) -> dict[str, Any]:
    return summarise(config, Records(events), events)


def test_the_winner_is_named_by_fresh_draws_not_by_the_sweeps_own_value(config: SweepConfig) -> None:
    events = [*trial("0000", 3.0, 1.0), *trial("0001", 2.0, 1.1), *trial("0002", 1.0, 3.0),
              rechecked("0000", [1.50, 1.54, 1.46], [1.4, 1.6, 1.5]),
              rechecked("0001", [1.20, 1.24, 1.16], [1.2, 1.2, 1.2])]  # fmt: skip
    found = summary(config, events)
    assert found["best"]["trial"] == "0001"
    assert found["best"]["value"] == pytest.approx(1.2)
    assert found["best"]["sweep_value"] == 1.1
    assert found["best"]["stderr"] == pytest.approx(0.04 / 3**0.5)
    assert found["best"]["params"]["step_size"] == 2.0
    assert found["answer"]["tied"] == []
    assert [row["trial"] for row in found["answer"]["rechecked"]] == ["0000", "0001"]
    assert found["answer"]["optimism"] == pytest.approx(0.5)  # of 0000, which the sweep had in front with 1.0


@pytest.mark.parametrize(("other", "tied"), [(1.23, True), (1.33, False)])
def test_a_difference_below_two_standard_errors_is_a_tie(other: float, tied: bool, config: SweepConfig) -> None:
    draws = [[value - 0.03, value, value + 0.03] for value in (1.2, other)]  # standard errors of .0173 each, .0245 both
    events = [*trial("0000", 3.0, 1.0), *trial("0001", 2.0, 1.1), rechecked("0000", draws[0], [1.0, 1.0, 1.0]),
              rechecked("0001", draws[1], [1.0, 1.0, 1.0])]  # fmt: skip
    found = summary(config, events)
    assert found["answer"]["tied"] == (["0001"] if tied else [])
    lines = "\n".join(answer_lines({**found, "experiment": "/e", "first_error": None}))
    assert ("tied: 0000, 0001 differ by less than two standard errors" in lines) == tied


def test_the_standard_error_is_the_larger_of_the_draws_own_and_their_spread() -> None:
    far = [{"kid": 1.0, "kid_stderr": 0.01}, {"kid": 2.0, "kid_stderr": 0.01}]
    near = [{"kid": 1.0, "kid_stderr": 0.6}, {"kid": 1.0, "kid_stderr": 0.8}]
    assert estimate(far, "kid") == pytest.approx((1.5, 0.5))
    assert estimate(near, "kid") == pytest.approx((1.0, 0.5))
    assert estimate([{"bpd": 4.0}, {"bpd": 5.0}], "bpd") == pytest.approx((4.5, 0.5))
    assert estimate([{"bpd": 4.0}, {}], "bpd") is None
    assert estimate([{"bpd": 4.0}], "bpd") is None


def test_rungs_bounds_and_the_other_features_are_judged(config: SweepConfig) -> None:
    events = [event for i in range(5) for event in trial(f"000{i}", 5.0 - i, 1.0 + i, kid_alt=5.0 - i)]
    answer = summary(config, events)["answer"]
    assert [(rung["kimg"], rung["spearman"]) for rung in answer["rungs"]] == [(11.0, pytest.approx(-1.0))]
    assert answer["grace_kimg"] == END
    assert "trial 0000 is number 5 of 5" in answer["disagreement"]
    assert answer["importances"] is None
    near = [asked("0000", sigma_begin=4.99, lr=2e-3), *events[1:4]]
    assert "sigma_begin 4.99 lies at its upper bound 5" in summary(config, near)["answer"]["at_bounds"][0]


def test_more_is_better_where_the_metric_says_so() -> None:
    config = load("beta_vae_space.yaml", profile="laptop", set={"metric.name": "factorvae"})
    assert config.metric.goal == "maximize"
    events = [asked("0000"), reported("0000", 48.0, "stop", factorvae=0.4), asked("0001"),
              reported("0001", 48.0, "stop", factorvae=0.6)]  # fmt: skip
    assert summarise(config, Records(events), events)["best"]["trial"] == "0001"


def test_two_objectives_leave_the_trials_that_none_beats_in_both() -> None:
    config = load("beta_vae_space.yaml", profile="laptop", set={"metrics": "[kid, factorvae]"})
    assert config.rungs == [48.0]
    values = {"0000": (1.0, 0.2), "0001": (2.0, 0.5), "0002": (3.0, 0.4), "0003": (1.0, 0.1)}
    events = []
    for name, (kid, score) in values.items():
        events += [asked(name), reported(name, 48.0, "stop", kid=kid, factorvae=score), ended(name)]
    records = Records(events)
    assert [record.id for record in front(records.trials.values(), ["kid", "factorvae"])] == ["0000", "0001"]
    found = summarise(config, records, events)
    assert [one["values"] for one in found["front"]] == [{"kid": 1.0, "factorvae": 0.2}, {"kid": 2.0, "factorvae": 0.5}]
    lines = "\n".join(answer_lines({**found, "experiment": "/e", "first_error": None}))
    assert "the front: 2 trials" in lines


def test_before_any_was_measured_again_the_sweeps_own_value_counts() -> None:
    records = Records([*trial("0000", 1.0, 2.0), *trial("0001", 2.0, 1.5)])
    found = best(records.trials.values(), "kid")
    assert found
    assert found.id == "0001"


def test_a_misleading_metric_is_said_at_the_start_and_in_the_answer() -> None:
    config = load("ncsn_space.yaml", profile="laptop", set={"metric.name": "loss", "scheduler.max_kimg": END})
    events = trial("0000", 1.0, 1.0, loss=3.0)
    assert "falls with the noise range by construction" in summarise(config, Records(events), events)["warnings"][0]


def test_other_images_or_features_than_the_experiment_began_with_are_refused(tmp_path: Path) -> None:
    records, experiment = Records(), Experiment(tmp_path)
    records.data, records.features = "images", {"cnn": "1", "randconv": "2"}
    check_basis(records, Basis("images", {"cnn": "1", "randconv": "2"}), experiment)
    with pytest.raises(InputError, match="not the images"):
        check_basis(records, Basis("others", {"cnn": "1", "randconv": "2"}), experiment)
    with pytest.raises(InputError, match=r"numbers of two feature sets do not compare"):
        check_basis(records, Basis("images", {"cnn": "3", "randconv": "2"}), experiment)
