"""Events folded into records."""

from __future__ import annotations

from typing import Any

import pytest

from tune_app.events import Event
from tune_app.results import Records, best, cost, describe


def asked(trial: str, source: str = "sampler", **params: Any) -> Event:
    return {"event": "asked", "trial": trial, "params": params, "source": source}


def reported(trial: str, kimg: float, decision: str = "continue", rung: bool = True, **metrics: float) -> Event:
    return {
        "event": "reported",
        "trial": trial,
        "kimg": kimg,
        "seconds": 2.0,
        "rung": rung,
        "metrics": metrics,
        "decision": decision,
    }


def ended(trial: str, state: str, reason: str = "asha") -> Event:
    return {"event": "ended", "trial": trial, "state": state, "reason": reason, "kimg": 0, "metrics": {}}


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
        [asked("0000"), asked("0001"), ended("0001", "completed"), {"event": "sweep_ended", "state": "interrupted"}]
    )
    assert [trial.state for trial in records.trials.values()] == ["interrupted", "completed"]
    records.apply({"event": "sweep_resumed"})
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


def test_cost_counts_each_trials_own_gpu_share() -> None:
    failed = {"event": "failed", "trial": "0001", "kind": "out_of_memory", "message": "", "retry": True, "gpu": 0.5}
    records = Records([asked("0000"), reported("0000", 4), asked("0001"), failed, reported("0001", 2)])
    spent = cost(records.trials.values(), hours=1.0, cpu=2, gpu=0.25)
    assert spent["kimg"] == 6
    assert spent["gpu_hours"] == pytest.approx((2 * 0.25 + 2 * 0.5) / 3600)
    assert spent["cpu_hours"] == pytest.approx(8 / 3600)
