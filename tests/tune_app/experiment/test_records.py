"""Records are computed from the log."""

from __future__ import annotations

from typing import Any

import pytest

from tests.events import asked, at, changed, ended, reported, resumed, started
from tune_app.experiment.ranking import best, trial_result
from tune_app.experiment.records import Records


def test_a_trial_runs_from_asked_to_ended() -> None:
    records = Records([asked("0000", x=1)])
    trial = records.trials["0000"]
    assert trial.state == "running"
    records.apply(reported("0000", 1, kid=3.0))
    records.apply(reported("0000", 2, rung=False, train_loss=9.0))
    records.apply(ended("0000", "stopped", "asha"))
    assert (trial.state, trial.reason, trial.kimg, trial.value("kid")) == ("stopped", "asha", 2, 3.0)
    assert +records.counts == {"stopped": 1}


def test_a_value_at_an_early_rung_does_not_compete_with_one_at_the_last() -> None:
    records = Records([asked("0000"), reported("0000", 1, kid=0.1), asked("0001"), reported("0001", 9, kid=0.5)])
    winner = best(records.trials.values(), "kid")
    assert winner is not None
    assert winner.id == "0001"


def test_a_failed_trial_is_never_best() -> None:
    records = Records([
        asked("0000"), reported("0000", 9, kid=0.1), ended("0000", "failed", "non_finite"),
        asked("0001"), reported("0001", 9, kid=0.5), ended("0001", "completed"),
    ])  # fmt: skip
    winner = best(records.trials.values(), "kid")
    assert winner is not None
    assert winner.id == "0001"


def test_before_the_first_rung_there_is_no_best() -> None:
    assert (
        best(Records([asked("0000"), reported("0000", 1, rung=False, train_loss=1.0)]).trials.values(), "kid") is None
    )


def test_unfinished_trials_are_interrupted_when_the_sweep_ends_and_wait_when_it_resumes() -> None:
    records = Records(
        [asked("0000"), asked("0001"), ended("0001", "completed"), at(0, "sweep_ended", state="interrupted", hours=0.0)]
    )
    assert [trial.state for trial in records.trials.values()] == ["interrupted", "completed"]
    records.apply(resumed())
    assert [trial.state for trial in records.trials.values()] == ["waiting", "completed"]


def test_the_result_of_a_trial_has_its_sampling_setting_and_its_standard_error() -> None:
    event = changed(
        reported("0003", 9, kid=0.5, kid_stderr=0.1),
        sampling={"step_size": 3.5},
        pictures={"samples": "trials/0003/samples-9.png"},
    )
    records = Records([changed(asked("0000", lr=0.001), trial="0003"), event])
    result = trial_result(records.trials["0003"], "kid")
    assert result.params == {"lr": 0.001, "step_size": 3.5}
    assert (result.value, result.stderr, result.kimg) == (0.5, 0.1, 9)


def test_cost_counts_the_gpu_share_of_each_trial_and_the_resources_of_each_session() -> None:
    def config(cpu: float, gpu: float) -> dict[str, Any]:
        return {"resources": {"cpu": cpu, "gpu": gpu}}

    failed = at(0, "failed", trial="0001", kind="out_of_memory", message="", retry=True, gpu=0.5)
    records = Records([
        started(config=config(2, 0.25)),
        asked("0000"), reported("0000", 4), asked("0001"), failed, reported("0001", 2),
        resumed(config=config(1, 1.0)), reported("0000", 5),
    ])  # fmt: skip
    spent = records.cost()
    assert spent["kimg"] == 7
    assert spent["gpu_hours"] == pytest.approx((2 * 0.25 + 2 * 0.5 + 2 * 1.0) / 3600)
    assert spent["cpu_hours"] == pytest.approx((2 * 2 + 2 * 2 + 2 * 1) / 3600)


def test_hours_count_only_sessions_and_a_killed_session_up_to_its_last_event() -> None:
    records = Records([
        started(), asked("0000", when=5),
        at(3600, "sweep_ended", state="interrupted", hours=1.0),
        resumed(90_000), changed(reported("0000", 1), time=resumed(91_800).time),
        resumed(200_000),
    ])  # fmt: skip
    assert records.hours == pytest.approx(1.5)
    assert records.clock_set_back == ""


def test_a_clock_that_was_set_back_is_noticed_and_takes_no_hours_away() -> None:
    records = Records([started(), asked("0000", when=3600)])
    records.apply(changed(reported("0000", 1), time=resumed(1800).time))
    assert records.hours == pytest.approx(1.0)
    records.apply(resumed(-7200))
    assert records.clock_set_back == "2026-01-01T00:30:00+00:00"
    assert records.hours == pytest.approx(1.0)


def test_a_clock_that_jumps_forward_spends_no_hours() -> None:
    ten_hours = 36_000
    records = Records([
        changed(started(), hours=0.0),
        asked("0000", when=5),
        changed(reported("0000", 1), hours=0.25),
        asked("0001", when=ten_hours),
    ])  # fmt: skip
    assert records.hours == 0.25
    records.apply(changed(resumed(2 * ten_hours), hours=0.25))
    records.apply(changed(reported("0001", 1), time=resumed(3 * ten_hours).time, hours=0.5))
    assert records.hours == 0.5
    records.apply(at(4 * ten_hours, "sweep_ended", state="interrupted", hours=0.75))
    assert records.hours == 0.75


def test_a_lost_worker_uses_up_a_retry_only_if_the_trial_made_no_progress() -> None:
    lost = at(0, "failed", trial="0000", kind="worker_lost", message="", retry=True)
    saved = at(0, "checkpointed", trial="0000", kimg=1.0, path="trials/0000/checkpoint_000001000")
    broken = changed(lost, kind="error")
    steps = [(lost, 1), (saved, 1), (lost, 1), (lost, 2), (saved, 2), (broken, 3), (saved, 3), (lost, 3)]
    records = Records([asked("0000")])
    for event, counted in steps:
        records.apply(event)
        assert records.trials["0000"].counted_failures == counted


def test_a_failure_that_gets_a_larger_gpu_share_uses_up_no_retry() -> None:
    lost = at(0, "failed", trial="0000", kind="worker_lost", message="", retry=True)
    records = Records([asked("0000"), lost, changed(lost, kind="out_of_memory", gpu=0.5)])
    assert records.trials["0000"].counted_failures == 1
    assert records.trials["0000"].gpu == 0.5
