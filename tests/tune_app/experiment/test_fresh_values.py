"""Values by fresh seeds: errors, differences, ties, and settings that were trained again."""

from __future__ import annotations

from math import sqrt
from typing import Any

import pytest

from tests.events import asked, at, changed, ended, reported
from tune_app.experiment.events import DrawErrors, Event
from tune_app.experiment.fresh_values import FreshValues, estimate, fresh_estimate, jackknife_variance
from tune_app.experiment.ranking import best_result, ranked
from tune_app.experiment.records import Records


def trained(trial: str, fresh: float, *, kid: float = 1.0, retrains: str = "", **errors: Any) -> list[Event]:
    """Return the events of a completed trial whose two fresh draws have the mean `fresh`."""
    source = {"source": "retraining", "retrains": retrains} if retrains else {}
    draws = [{"kid": fresh - 0.01, "kid_stderr": 0.03}, {"kid": fresh + 0.01, "kid_stderr": 0.03}]
    again = at(0, "rechecked", trial=trial, kimg=9.0, seconds=1, sampling={}, draws=draws, same=draws, pictures={},
               features="f", errors={"kid": errors} if errors else {})  # fmt: skip
    return [changed(asked(trial), **source), reported(trial, 9.0, "stop", kid=kid), ended(trial), again]


def values(*events: list[Event]) -> FreshValues:
    return FreshValues(Records(event for part in events for event in part).trials.values(), "kid")


def test_without_the_parts_the_error_is_the_larger_of_the_draws_own_and_their_spread() -> None:
    far = [{"kid": 1.0, "kid_stderr": 0.01}, {"kid": 2.0, "kid_stderr": 0.01}]
    near = [{"kid": 1.0, "kid_stderr": 0.6}, {"kid": 1.0, "kid_stderr": 0.8}]
    for draws, expected in ((far, (1.5, 0.5)), (near, (1.0, 0.5)), ([{"kid": 4.0}, {"kid": 5.0}], (4.5, 0.5))):
        value = estimate(draws, "kid")
        assert value
        assert value.estimate == pytest.approx(expected)
    assert estimate([{"bpd": 4.0}, {}], "bpd") is None
    assert estimate([{"bpd": 4.0}], "bpd") is None


def test_the_jackknife_of_means_is_their_standard_error() -> None:
    sample = [1.0, 2.0, 4.0, 7.0, 11.0]
    without = [(sum(sample) - one) / 4 for one in sample]
    mean = sum(sample) / 5
    assert jackknife_variance(without) == pytest.approx(sum((one - mean) ** 2 for one in sample) / 4 / 5)
    assert jackknife_variance([]) == 0.0


def test_the_real_images_count_once_for_a_value_and_cancel_in_a_difference() -> None:
    groups = [0.9, 1.0, 1.1]
    shifted = [value + 0.2 for value in groups]
    found = values(trained("0000", 1.0, samples=0.03, without_group=groups),
                   trained("0001", 1.2, samples=0.04, without_group=shifted))  # fmt: skip
    record = Records(trained("0000", 1.0, samples=0.03, without_group=groups)).trials["0000"]
    own = fresh_estimate(record, "kid")
    assert own
    assert own.stderr == pytest.approx(sqrt(0.03**2 + jackknife_variance(groups)))
    assert own.stderr > 0.1
    difference = found.difference("0000", "0001")
    assert difference == pytest.approx((0.2, 0.05))


def test_without_the_parts_the_errors_of_two_trials_add_as_squares() -> None:
    difference = values(trained("0000", 1.0), trained("0001", 1.2)).difference("0000", "0001")
    assert difference == pytest.approx((0.2, 0.03))  # each .03 / sqrt(2)


def test_with_the_parts_of_one_trial_alone_the_errors_add_as_squares_too() -> None:
    groups = [0.9, 1.0, 1.1]
    found = values(trained("0000", 1.0, samples=0.03, without_group=groups), trained("0001", 1.2))
    difference = found.difference("0000", "0001")
    assert difference == pytest.approx((0.2, sqrt(0.03**2 + jackknife_variance(groups) + 0.03**2 / 2)))


@pytest.mark.parametrize(("rivals", "critical"), [(1, 1.645), (2, 1.960), (4, 2.241)])
def test_more_rivals_need_a_larger_difference(rivals: int, critical: float) -> None:
    assert values().threshold(rivals) == pytest.approx(critical, abs=0.001)


def test_settings_trained_again_are_judged_by_the_mean_over_their_trainings() -> None:
    events = [*trained("0000", 0.1), *trained("0001", 0.3), *trained("0002", 0.4),
              *trained("0003", 0.6, retrains="0000"), *trained("0004", 0.3, retrains="0001"),
              *trained("0005", 0.4, retrains="0000"), *trained("0006", 0.5, retrains="0001")]  # fmt: skip
    records = Records(events)
    found = FreshValues(records.trials.values(), "kid")
    assert [record.id for record in records.searched] == ["0000", "0001", "0002"]
    assert [record.id for record in ranked(records.trials.values(), "kid")] == ["0000", "0001", "0002"]
    result = best_result(records.trials.values(), "kid")
    assert result
    assert (result.trial, result.trainings) == ("0001", [pytest.approx(0.3), pytest.approx(0.5)])
    pooled = (2 * 0.1**2 + 2 * 0.1**2) / 2  # variance between trainings, with one degree of freedom for each setting
    assert (result.value, result.stderr) == (pytest.approx(0.4), pytest.approx(sqrt(pooled / 2)))
    assert found.difference("0001", "0002") == pytest.approx((0.0, sqrt(pooled / 2 + pooled)))  # 0002 has one training
    assert found.threshold(1) == pytest.approx(2.920, abs=0.001)  # Student's t with two degrees of freedom
    assert found.tied_with("0001") == ["0000", "0002"]


def test_one_more_training_of_a_setting_does_not_judge_it() -> None:
    found = values(trained("0000", 0.1), trained("0001", 0.3), trained("0002", 0.6, retrains="0000"))
    assert not found.over_trainings
    winner = found.best()
    assert winner
    assert winner.id == "0000"


def test_the_parts_of_the_error_are_read_from_the_log() -> None:
    record = Records(trained("0000", 1.0, samples=0.03, without_group=[1.0, 1.1])).trials["0000"]
    assert record.recheck
    assert record.recheck.errors == {"kid": DrawErrors(samples=0.03, without_group=[1.0, 1.1])}
