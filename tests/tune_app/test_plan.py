"""The plan: trials expected at each rung, and the least and the most training."""

from __future__ import annotations

import pytest

from tune_app.config.load import load
from tune_app.plan import make_plan


@pytest.mark.parametrize(
    ("trials", "survivors"), [(9, [9, 3, 1]), (7, [7, 3, 1]), (10, [10, 4, 2]), (1, [1, 1, 1]), (2, [2, 1, 1])]
)
def test_the_best_third_rounded_up_survives_a_rung(trials: int, survivors: list[int]) -> None:
    plan = make_plan(load("branin_space.yaml", set={"search.trials": trials}))
    assert plan.rungs == [3, 9, 27]
    assert plan.survivors == survivors
    assert plan.kimg_least == sum(step * count for step, count in zip((3, 6, 18), survivors, strict=True))
    assert plan.kimg_most == 27 * trials


def test_baselines_survive_every_rung() -> None:
    changes = {"search.trials": 9, "baselines": "[{x1: 1.0}, {x1: 2.0}, {x1: 3.0}, {x1: 4.0}]"}
    assert make_plan(load("branin_space.yaml", set=changes)).survivors == [9, 4, 4]
