"""The sequential test that decides whether a rung is trusted."""

from __future__ import annotations

import random

import pytest

from tune_app.config.schema import TrustConfig
from tune_app.driver.asha import RungBook
from tune_app.driver.trust import SequentialTest, Threshold, p_value, trust_rule


def ever_trusted(draw: random.Random, rho: float, finished: int) -> bool:
    judge, early, final = SequentialTest(0.1).judge(), [], []
    for _ in range(finished):
        early.append(draw.gauss(0, 1))
        final.append(rho * early[-1] + (1 - rho**2) ** 0.5 * draw.gauss(0, 1))
        if judge.trusts(early, final):
            return True
    return False


@pytest.mark.parametrize(("rho", "finished", "least", "most"), [(0.0, 30, 0.03, 0.14), (0.9, 8, 0.75, 0.95)])
def test_an_unrelated_rung_is_trusted_in_a_tenth_of_the_sweeps_and_a_good_one_early(
    rho: float, finished: int, least: float, most: float
) -> None:
    draw = random.Random(0)
    assert least < sum(ever_trusted(draw, rho, finished) for _ in range(200)) / 200 < most


def test_the_p_value_is_that_of_the_permutations_and_ties_count_as_disagreement() -> None:
    assert p_value([1, 2, 3, 4], [5, 6, 7, 8]) == pytest.approx(1 / 24)
    assert p_value([1, 2, 3, 4], [6, 5, 7, 8]) == pytest.approx(4 / 24)
    assert p_value([1, 2, 3, 4], [5, 5, 7, 8]) == pytest.approx(4 / 24)
    assert p_value([2, 2, 3, 4], [5, 6, 7, 8]) == pytest.approx(4 / 24)


def test_a_trusted_rung_loses_its_trust_while_it_ranks_backwards() -> None:
    judge = SequentialTest(0.1).judge()
    assert judge.trusts([1, 2, 3, 4], [1, 2, 3, 4])
    assert judge.trusts([1, 2, 3, 4, 5], [1, 2, 3, 4, 0])  # tau .2: the proof stands
    assert not judge.trusts([1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 4, 0, -1, -2])


def test_a_replay_that_records_many_trials_at_once_looks_at_each_of_them() -> None:
    book = RungBook([10, 30], 3, SequentialTest(0.1))
    for number, final in enumerate([1, 2, 3, 4, 0]):  # only the look at four trials is significant
        book.record(str(number), 10, number)
        book.record(str(number), 30, final)
    assert book.trusted(10)


def test_the_old_form_of_trust_keeps_its_rule() -> None:
    assert trust_rule(TrustConfig()) == SequentialTest(0.1)
    assert trust_rule(TrustConfig(trials=4, tau=0.3)) == Threshold(4, 0.3)
    assert trust_rule(TrustConfig(trials=6)) == Threshold(6, 0.3)
    assert trust_rule(None) is None
    with pytest.raises(ValueError, match="either error, or trials and tau"):
        TrustConfig(error=0.1, tau=0.3)
