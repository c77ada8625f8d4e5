"""The verdicts on rungs: how well they predicted the final value."""

from __future__ import annotations

from typing import Any

import pytest

from tests.events import asked, changed, ended
from tests.events import reported as at_rung
from tune_app.answer.rungs import RungVerdict, next_grace, rung_lines, rung_verdicts
from tune_app.driver.asha import RungBook
from tune_app.driver.scheduler import record_rungs
from tune_app.experiment.events import Event


def reported(trial: int, kimg: float, value: float | None, **fields: Any) -> Event:
    return changed(at_rung(f"{trial:04d}", kimg, kid=value), **fields)


def verdicts(*spearmans: float | None) -> list[RungVerdict]:
    return [RungVerdict(2.0**i, 8, spearman, 5) for i, spearman in enumerate(spearmans)]


def test_a_rung_is_judged_by_the_ranks_of_the_trials_that_reached_the_end() -> None:
    early, late = [1.0, 2.0, 3.0, 4.0, 5.0], [0.2, 0.1, 0.3, 0.5, 0.4]
    events = [reported(trial, 11, value) for trial, value in enumerate(early)]
    events += [reported(9, 11, 0.0, decision="stop"), ended("0009", "stopped")]
    events += [reported(trial, 22, value) for trial, value in enumerate(late)]
    # by hand: the ranks differ by 1 four times, so that 1 - 6 * 4 / (5 * 24) = 0.8
    assert rung_verdicts(events, [11, 22], "kid", {}) == [RungVerdict(11, 5, pytest.approx(0.8), None)]


def test_a_trial_counts_with_its_first_value_at_a_rung_and_reports_between_rungs_do_not() -> None:
    events = [reported(trial, 1, trial) for trial in range(4)] + [reported(trial, 2, trial) for trial in range(4)]
    again = [reported(0, 1, 99.0), reported(3, 1, -99.0), reported(0, 2, 99.0)]
    between = [reported(5, 1, 0.0, rung=False), reported(5, 2, 9.0), reported(6, 1, None), reported(6, 2, 8.0)]
    assert rung_verdicts([*events, *again, *between], [1, 2], "kid", {}) == [
        RungVerdict(1, 4, pytest.approx(1.0), None)
    ]


def test_a_rung_was_trusted_after_the_trials_that_had_reported_at_the_end_by_then() -> None:
    events = [
        reported(0, 1, 1.0, trusted=False), reported(0, 2, 1.0, trusted=False), reported(0, 4, 1.0, trusted=None),
        reported(1, 1, 2.0, trusted=False), reported(1, 2, 2.0, trusted=True), reported(1, 4, 2.0),
        reported(2, 1, 3.0, trusted=True), reported(2, 2, 3.0, trusted=True), reported(2, 4, 3.0),
    ]  # fmt: skip
    assert [verdict.trusted_after for verdict in rung_verdicts(events, [1, 2, 4], "kid", {})] == [2, 1]
    classic = [reported(0, 1, 1.0, trusted=True), *events]
    assert rung_verdicts(classic, [1, 2, 4], "kid", {})[0].trusted_after == 0


@pytest.mark.parametrize(
    ("early", "late"), [([1, 2, 3], [1, 2, 3]), ([7, 7, 7, 7], [1, 2, 3, 4]), ([1, 2, 3, 4], [7] * 4)]
)
def test_a_rung_with_few_trials_or_equal_values_is_not_judged(early: list[float], late: list[float]) -> None:
    events = [reported(trial, 1, value) for trial, value in enumerate(early)]
    events += [reported(trial, 2, value) for trial, value in enumerate(late)]
    assert rung_verdicts(events, [1, 2], "kid", {}) == [RungVerdict(1, len(early), None, None)]


def test_a_single_rung_and_an_empty_log_have_no_verdict() -> None:
    assert rung_verdicts([reported(0, 22, 1.0)], [22], "kid", {}) == []
    assert rung_verdicts([], [11, 22], "kid", {}) == [RungVerdict(11, 0, None, None)]
    assert next_grace([], [22]) is None
    assert rung_lines([], [22]) == []


@pytest.mark.parametrize(
    ("spearmans", "grace"),
    [
        ((0.5, 0.7, 0.9), 1),
        ((0.4, 0.5, 0.9), 2),
        ((0.9, 0.4, 0.6), 4),
        ((0.9, 0.9, 0.4), 8),
        ((-0.3, 0.1, 0.2), 8),
        ((None, 0.9, 0.9), None),
        ((0.1, 0.9, None), None),
    ],
)
def test_the_next_grace_is_the_first_rung_from_which_all_predict(
    spearmans: tuple[float | None, ...], grace: float | None
) -> None:
    assert next_grace(verdicts(*spearmans), [1, 2, 4, 8]) == grace


def test_each_good_rung_gets_a_sentence() -> None:
    judged = [RungVerdict(11, 8, 0.618, 5), RungVerdict(22, 9, 0.8, 0), RungVerdict(33, 9, 1.0, None)]
    assert rung_lines(judged, [11, 22, 33, 44]) == [
        "rung at 11 kimg: Spearman 0.62 with the end over 8 trials, trusted after 5",
        "rung at 22 kimg: Spearman 0.80 with the end over 9 trials, trusted from the start",
        "rung at 33 kimg: Spearman 1.00 with the end over 9 trials, never trusted",
        "grace_kimg to use next time: 11",
    ]


def test_a_misleading_rung_gets_a_warning() -> None:
    assert rung_lines([RungVerdict(4, 8, -0.32, None), RungVerdict(12, 8, 0.38, 6)], [4, 12, 36]) == [
        "rung at 4 kimg: Spearman -0.32 with the end over 8 trials, never trusted",
        "warning: the rung at 4 kimg hardly predicts the end (Spearman below 0.5); it stopped no trial",
        "rung at 12 kimg: Spearman 0.38 with the end over 8 trials, trusted after 6",
        "warning: the rung at 12 kimg hardly predicts the end (Spearman below 0.5); it may have stopped good trials",
        "no rung predicts the end: use scheduler.type none, or a later grace_kimg",
    ]
    assert rung_lines(verdicts(0.9, 0.4), [1, 2, 4])[-1] == (
        "the rung at 2 kimg does not predict the end: use scheduler.type none, or a later grace_kimg"
    )


def test_a_rung_that_cannot_be_judged_gets_no_advice() -> None:
    judged = [RungVerdict(11, 1, None, None), RungVerdict(22, 5, None, 4)]
    assert rung_lines(judged, [11, 22, 44]) == [
        "rung at 11 kimg: not judged, because only 1 trial reached the end; never trusted",
        "rung at 22 kimg: not judged, because the 5 trials that reached the end have equal values; trusted after 4",
    ]


def test_a_baseline_outside_the_space_says_nothing_about_the_rungs() -> None:
    inside = [event for n in range(4) for event in (reported(n, 1, float(n)), reported(n, 2, float(n)))]
    outside: list[Event] = [asked("0009", "baseline", clip=5.0), reported(9, 1, 99.0), reported(9, 2, -99.0)]
    assert rung_verdicts([*outside, *inside], [1, 2], "kid", {"clip": 1.0})[0].trials == 4
    book = RungBook([1, 2], 3, None)
    record_rungs(book, [*outside, *inside], "kid", {"clip": 1.0})
    assert book.recorded[2] == {f"{n:04d}": float(n) for n in range(4)}
