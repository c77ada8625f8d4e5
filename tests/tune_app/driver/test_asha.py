"""ASHA: the trials that continue at a rung, and the rungs that may stop trials."""

from __future__ import annotations

import random
from math import inf, nan

import pytest
from scipy.stats import kendalltau

from tune_app.driver.asha import RungBook
from tune_app.driver.trust import Threshold, kendall_tau


def test_without_trust_the_best_third_of_a_rung_continues() -> None:
    book = RungBook([10, 30], 3, trust=None)
    decisions = [book.report(str(n), 10, value).decision for n, value in enumerate([5, 4, 3, 6, 2, 7, 1, 8, 2.5])]
    # the best ceil(n / 3) of the n values so far, the trial's own included
    assert decisions == ["continue", "continue", "continue", "stop", "continue", "stop", "continue", "stop", "continue"]


@pytest.mark.parametrize(("others", "value", "decision"), [
    ((1, 5, 6), 2, "continue"),  # n = 4: ceil(4 / 3) = 2 continue, floor would keep 1
    ((1, 5, 6), 5.5, "stop"),
    ((1, 5, 6, 7), 2, "continue"),  # n = 5: 2 continue
    ((1, 2, 6, 7, 8, 9), 3, "continue"),  # n = 7: 3 continue, floor would keep 2
    ((1, 2, 6, 7, 8, 9), 6.5, "stop"),
])  # fmt: skip
def test_the_number_of_trials_that_continue_is_rounded_up(
    others: tuple[float, ...], value: float, decision: str
) -> None:
    book = RungBook([10, 30], 3, trust=None)
    for number, other in enumerate(others):
        book.record(str(number), 10, other)
    assert book.report("new", 10, value).decision == decision


def test_the_last_rung_ends_every_trial() -> None:
    book = RungBook([10, 30], 3, trust=None)
    assert book.report("a", 30, 1.0) == ("stop", None)


def test_a_baseline_is_recorded_and_always_continues() -> None:
    book = RungBook([10, 30], 2, trust=None)
    book.report("good", 10, 1.0)
    assert book.report("baseline", 10, 9.0, protected=True).decision == "continue"
    assert book.recorded[10] == {"good": 1.0, "baseline": 9.0}


def finish(book: RungBook, pairs: list[tuple[float, float]]) -> None:
    for number, (early, final) in enumerate(pairs):
        assert book.report(f"done{number}", 10, early).decision == "continue"
        book.report(f"done{number}", 30, final)


def test_a_rung_stops_no_trial_before_enough_trials_have_finished() -> None:
    book = RungBook([10, 30], 3, Threshold(trials=4, tau=0.3))
    finish(book, [(1, 1), (2, 2), (3, 3)])
    assert book.report("bad", 10, 99.0) == ("continue", False)


def test_a_rung_that_ranks_as_the_end_does_is_trusted_and_stops_trials() -> None:
    book = RungBook([10, 30], 3, Threshold(trials=4, tau=0.3))
    finish(book, [(1, 1), (2, 2), (3, 3), (4, 4)])
    assert book.report("bad", 10, 99.0) == ("stop", True)
    assert book.report("good", 10, 0.5) == ("continue", True)


def test_a_rung_that_ranks_backwards_never_stops_a_trial() -> None:
    book = RungBook([10, 30], 3, Threshold(trials=4, tau=0.3))
    finish(book, [(1, 4), (2, 3), (3, 2), (4, 1)])
    assert book.report("worst", 10, 99.0) == ("continue", False)


def test_trust_depends_only_on_values_before_the_report() -> None:
    book = RungBook([10, 30], 3, Threshold(trials=2, tau=0.3))
    book.report("a", 10, 1)
    book.report("b", 10, 2)
    book.report("a", 30, 1)
    assert not book.report("c", 10, 3).trusted
    book.report("b", 30, 2)
    assert book.report("d", 10, 4).trusted


def test_agreement_is_kendalls_tau_b_with_ties() -> None:
    early, final = [1.0, 1.0, 2.0, 3.0, 2.0], [2.0, 1.0, 2.0, 5.0, 3.0]
    assert kendall_tau(early, final) == pytest.approx(kendalltau(early, final).statistic)


def test_a_rung_without_spread_is_not_trusted() -> None:
    book = RungBook([10, 30], 3, Threshold(trials=2, tau=-1 + 1e-9))
    finish(book, [(1, 4), (1, 3), (1, 2)])
    assert not book.trusted(10)


@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_a_value_that_is_no_number_is_refused_and_not_recorded(value: float) -> None:
    book = RungBook([10, 30], 3, trust=None)
    with pytest.raises(ValueError, match="trial a"):
        book.report("a", 10, value)
    assert book.recorded[10] == {}


def test_a_second_report_at_a_rung_keeps_the_first_value() -> None:
    book = RungBook([10, 30], 3, trust=None)
    book.report("a", 10, 1.0)
    book.report("a", 10, 5.0)
    assert book.recorded[10] == {"a": 1.0}


def test_a_replay_takes_the_same_decisions() -> None:
    draw = random.Random(3)
    first, log = RungBook([10, 30, 90], 2, Threshold(4, 0.0)), []
    for number in range(80):
        for rung in first.rungs:
            entry = (str(number), rung, draw.random() + number % 3)
            verdict = first.report(*entry)
            log.append((entry, verdict))
            if verdict.decision == "stop":
                break
    again = RungBook([10, 30, 90], 2, Threshold(4, 0.0))
    assert [again.report(*entry) for entry, _ in log] == [verdict for _, verdict in log]
    assert any(verdict.decision == "stop" and verdict.trusted for _, verdict in log)
