"""Branin: its known optimum, its bias that falls to 0, and a trial that passes all its marks."""

from __future__ import annotations

from math import pi
from pathlib import Path

import pytest

from trainables.branin import branin
from trainables.contract import RunSpec
from trainables.trial import Trial


def spec(**params: float) -> RunSpec:
    known = {"x1": pi, "x2": 2.275, "bias": 30.0, "step_seconds": 0.0}
    return RunSpec(model="branin", params={**known, **params}, seed=0, metric="value", max_kimg=9)


@pytest.mark.parametrize(("x1", "x2"), [(-pi, 12.275), (pi, 2.275), (9.42478, 2.475)])
def test_the_three_optima_have_the_published_value(x1: float, x2: float) -> None:
    assert branin(x1, x2) == pytest.approx(0.397887, abs=1e-5)


def test_the_value_at_max_kimg_is_branins_and_earlier_ones_are_higher() -> None:
    trial = Trial(spec(), rungs=[1, 3, 9], report_kimg=9)
    values = [trial.advance().metrics["value"] for _ in range(3)]
    assert values[0] > values[1] > values[2] == pytest.approx(0.397887, abs=1e-5)
    assert trial.done


def test_a_trial_reports_at_exact_marks_and_evaluates_at_rungs_alone() -> None:
    trial, marks = Trial(spec(), rungs=[2.5, 4], report_kimg=1), []
    while not trial.done:
        report = trial.advance()
        marks.append((report.kimg, report.rung, "value" in report.metrics))
    assert marks == [(1, False, False), (2, False, False), (2.5, True, True), (3, False, False), (4, True, True)]


def test_a_loaded_trial_goes_on_where_it_was(tmp_path: Path) -> None:
    whole, first = (Trial(spec(), rungs=[3, 9], report_kimg=1) for _ in range(2))
    expected = [numbers(whole) for _ in range(9)]
    for _ in range(4):
        first.advance()
    first.save(tmp_path / "checkpoint")
    second = Trial(spec(), rungs=[3, 9], report_kimg=1)
    second.load(tmp_path / "checkpoint")
    spent = first.seconds
    assert [numbers(second) for _ in range(5)] == expected[4:]
    assert second.seconds > spent


def numbers(trial: Trial) -> dict[str, float]:
    return {name: value for name, value in trial.advance().metrics.items() if name != "seconds"}
