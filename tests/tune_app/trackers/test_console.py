"""Plain lines of a sweep in a pipe, and the time left."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from tests.events import asked, changed, ended, reported, started
from tune_app.config.load import load
from tune_app.experiment.events import Event
from tune_app.experiment.folder import Experiment
from tune_app.experiment.forecast import Forecast, TrialCost
from tune_app.experiment.records import Records
from tune_app.trackers.console import Plain
from tune_app.trackers.time_left import seconds_left


def printed(*events: Event, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stdout", stream)
    console, records = Plain(), Records()
    console.begin(load("branin_space.yaml", set={"search.trials": 9}), Experiment(folder), records, slots=2)
    for event in events:
        records.apply(event)
        console.event(event)
    return stream.getvalue().splitlines()


def test_the_end_of_a_trial_says_how_far_the_sweep_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed(
        asked("0000"),
        reported("0000", 3.0, value=1.0),
        reported("0000", 27.0, "stop", value=0.5),
        ended("0000", kimg=27.0),
        folder=tmp_path,
        monkeypatch=monkeypatch,
    )
    assert lines[-3].endswith("0000 at 3 kimg: value 1 -> continue")
    assert lines[-2].endswith("0000 at 27 kimg: value 0.5"), "a trial at its end is not stopped"
    assert lines[-1].endswith("0000 completed at 27 kimg (max_kimg); 1/9, about 0:16 left at most")


def test_what_a_worker_says_does_not_steer_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stdout", stream)
    Plain().note("a \x1b[2J\x1b]0;title\x07 b")
    assert stream.getvalue() == "a \\x1b[2J\\x1b]0;title\\x07 b\n"


def test_a_model_that_draws_a_sample_at_once_does_not_pay_for_more_evaluations() -> None:
    config = load("beta_vae_space.yaml", profile="laptop", set={"search.trials": 1, "recheck.seeds": 0})
    report = changed(reported("0000", 48.0, "stop", kid=0.1, nfe=1.0, evaluation_seconds=5.12), seconds=100.0)
    records = Records([asked("0000"), report, ended("0000", kimg=48.0)])
    again = config.recheck
    draws = again.draws * (again.samples + 512) / 100  # seconds, at 100 images a second
    assert seconds_left(config, records, slots=1) == pytest.approx(draws)


@pytest.mark.parametrize("seeds", [0, 2])
def test_the_time_left_counts_the_re_evaluation_and_the_trainings_with_fresh_seeds(seeds: int) -> None:
    config = load(
        "ncsn_space.yaml", profile="laptop", set={"search.trials": 2, "recheck.trials": 2, "recheck.seeds": seeds}
    )
    once, again = config.evaluation, config.recheck
    records = Records(
        event
        for trial in ("0000", "0001")
        for event in (
            asked(trial),
            changed(reported(trial, 28.0, "stop", kid=0.1, evaluation_seconds=10.0), seconds=100.0),
            ended(trial, kimg=28.0),
        )
    )
    draws = again.draws * (again.samples * again.nfe + once.final_samples * once.nfe)
    pilot = 5 * min(again.samples, once.samples) * again.nfe
    evaluation = (draws + pilot) * 10.0 / (5 * once.final_samples * once.nfe)
    assert seconds_left(config, records, slots=2) == pytest.approx(evaluation + seeds * (100.0 + evaluation))


def test_the_time_left_counts_the_evaluations_ahead_and_does_not_share_one_trial_between_slots() -> None:
    changes = {
        "search.trials": 3,
        "recheck.trials": 0,
        "scheduler.rungs": [10, 20],
        "scheduler.max_kimg": 20,
        "scheduler.grace_kimg": 10,
    }
    config = load("beta_vae_space.yaml", profile="laptop", set=changes)
    first = changed(reported("0000", 10.0, kid=0.1, evaluation_seconds=5.0), seconds=25.0)  # 2 s for a kimg
    records = Records([started(), asked("0000"), asked("0001"), first])
    # 20 s of training are left to trial 0000, then 45 s to trial 0002; trial 0001 has its 45 s
    assert seconds_left(config, records, slots=2) == pytest.approx(20 + 45)


def test_before_the_first_report_the_time_left_is_that_of_the_forecast() -> None:
    cost = TrialCost(kimg=2.0, rung=5.0, final=7.0)
    expected = Forecast(
        basis="a probe", slots=2, hours=[1.0, 2.0], gpu_hours=[0.0, 0.0], disk_bytes=[1.0, 2.0],
        start_seconds=9.0, phase_seconds=3.0, cost=cost,
    )  # fmt: skip
    changes = {
        "search.trials": 3,
        "recheck.trials": 0,
        "scheduler.rungs": [10, 20],
        "scheduler.max_kimg": 20,
        "scheduler.grace_kimg": 10,
    }
    config = load("beta_vae_space.yaml", profile="laptop", set=changes)
    records = Records([started(forecast=expected.model_dump()), asked("0000"), asked("0001")])
    assert seconds_left(config, records, slots=2) == pytest.approx(3 + 2 * (40 + 5 + 7))
    assert seconds_left(config, Records([started()]), slots=2) is None
