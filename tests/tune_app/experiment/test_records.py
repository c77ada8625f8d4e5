"""Events folded into records."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from tune_app.experiment.log import Event
from tune_app.experiment.records import Records, best, describe

BEGAN = datetime(2026, 1, 1, tzinfo=timezone.utc)


def at(seconds: float, event: str, **fields: Any) -> Event:
    return {"event": event, "time": (BEGAN + timedelta(seconds=seconds)).isoformat(), **fields}


def asked(trial: str, source: str = "sampler", **params: Any) -> Event:
    return {**at(0, "asked"), "trial": trial, "params": params, "source": source}


def reported(trial: str, kimg: float, decision: str = "continue", rung: bool = True, **metrics: float) -> Event:
    return {
        **at(0, "reported"),
        "trial": trial,
        "kimg": kimg,
        "seconds": 2.0,
        "rung": rung,
        "metrics": metrics,
        "decision": decision,
    }


def ended(trial: str, state: str, reason: str = "asha") -> Event:
    return {**at(0, "ended"), "trial": trial, "state": state, "reason": reason, "kimg": 0, "metrics": {}}


def test_a_trial_runs_from_asked_to_ended() -> None:
    records = Records([asked("0000", x=1)])
    trial = records.trials["0000"]
    assert trial.state == "running"
    records.apply(reported("0000", 1, kid=3.0))
    records.apply(reported("0000", 2, rung=False, train_loss=9.0))
    records.apply(ended("0000", "stopped"))
    assert (trial.state, trial.reason, trial.kimg, trial.value("kid")) == ("stopped", "asha", 2, 3.0)
    assert +records.counts == {"stopped": 1}


def test_a_value_of_an_early_rung_does_not_compete_with_one_of_the_last() -> None:
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


def test_open_trials_are_interrupted_when_the_sweep_ends_and_wait_when_it_resumes() -> None:
    records = Records(
        [asked("0000"), asked("0001"), ended("0001", "completed"), at(0, "sweep_ended", state="interrupted", hours=0.0)]
    )
    assert [trial.state for trial in records.trials.values()] == ["interrupted", "completed"]
    records.apply(at(0, "sweep_resumed"))
    assert [trial.state for trial in records.trials.values()] == ["waiting", "completed"]


def test_the_best_is_described_with_its_sampling_setting_and_error() -> None:
    event = {
        **reported("0003", 9, kid=0.5, kid_stderr=0.1),
        "sampling": {"step_size": 3.5},
        "pictures": {"samples": "trials/0003/samples-9.png"},
    }
    records = Records([asked("0003", lr=0.001), event])
    found = describe(records.trials["0003"], "kid")
    assert found["params"] == {"lr": 0.001, "step_size": 3.5}
    assert (found["value"], found["stderr"], found["kimg"]) == (0.5, 0.1, 9)


def test_cost_counts_each_trials_own_gpu_share_and_the_shares_of_its_session() -> None:
    def config(cpu: float, gpu: float) -> dict[str, Any]:
        return {"resources": {"cpu": cpu, "gpu": gpu}}

    failed = at(0, "failed", trial="0001", kind="out_of_memory", message="", retry=True, gpu=0.5)
    records = Records([
        at(0, "sweep_started", config=config(2, 0.25)),
        asked("0000"), reported("0000", 4), asked("0001"), failed, reported("0001", 2),
        at(0, "sweep_resumed", config=config(1, 1.0)), reported("0000", 5),
    ])  # fmt: skip
    spent = records.cost()
    assert spent["kimg"] == 7
    assert spent["gpu_hours"] == pytest.approx((2 * 0.25 + 2 * 0.5 + 2 * 1.0) / 3600)
    assert spent["cpu_hours"] == pytest.approx((2 * 2 + 2 * 2 + 2 * 1) / 3600)


def test_hours_count_sessions_alone_and_a_killed_one_up_to_its_last_event() -> None:
    records = Records([
        at(0, "sweep_started"), at(5, "asked", trial="0000", params={}, source="sampler"),
        at(3600, "sweep_ended", state="interrupted", hours=1.0),
        at(90_000, "sweep_resumed"), {**reported("0000", 1), **at(91_800, "reported")},
        at(200_000, "sweep_resumed"),
    ])  # fmt: skip
    assert records.hours == pytest.approx(1.5)
    assert records.set_back == ""


def test_a_clock_set_back_is_told_and_takes_no_hours_away() -> None:
    records = Records([at(0, "sweep_started"), at(3600, "asked", trial="0000", params={}, source="sampler")])
    records.apply({**reported("0000", 1), **at(1800, "reported")})
    assert records.hours == pytest.approx(1.0)
    records.apply(at(-7200, "sweep_resumed"))
    assert records.set_back == "2026-01-01T00:30:00+00:00"
    assert records.hours == pytest.approx(1.0)


def test_a_lost_worker_uses_up_a_retry_only_where_the_trial_got_no_further() -> None:
    lost = at(0, "failed", trial="0000", kind="worker_lost", message="", retry=True)
    saved = at(0, "checkpointed", trial="0000", kimg=1.0, path="trials/0000/checkpoint_000001000")
    broken = {**lost, "kind": "error"}
    told = [(lost, 1), (saved, 1), (lost, 1), (lost, 2), (saved, 2), (broken, 3), (saved, 3), (lost, 3)]
    records = Records([asked("0000")])
    for event, counted in told:
        records.apply(event)
        assert records.trials["0000"].counted_failures == counted


def test_an_answer_of_more_gpu_uses_up_no_retry() -> None:
    lost = at(0, "failed", trial="0000", kind="worker_lost", message="", retry=True)
    records = Records([asked("0000"), lost, {**lost, "kind": "out_of_memory", "gpu": 0.5}])
    assert records.trials["0000"].counted_failures == 1
    assert records.trials["0000"].gpu == 0.5
