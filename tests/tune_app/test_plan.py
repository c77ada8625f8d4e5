"""The plan: trials expected at each rung, and the least and the most training."""

from __future__ import annotations

import pytest

from trainables.image_distances import Distances
from tune_app import plan
from tune_app.config.load import load
from tune_app.plan import make_plan, plan_lines


@pytest.mark.parametrize(
    ("trials", "survivors"), [(9, [9, 3, 1]), (7, [7, 3, 1]), (10, [10, 4, 2]), (1, [1, 1, 1]), (2, [2, 1, 1])]
)
def test_the_best_third_rounded_up_survives_a_rung(trials: int, survivors: list[int]) -> None:
    made = make_plan(load("branin_space.yaml", set={"search.trials": trials}))
    assert made.rungs == [3, 9, 27]
    assert made.survivors == survivors
    assert made.kimg_least == sum(step * count for step, count in zip((3, 6, 18), survivors, strict=True))
    assert made.kimg_most == 27 * trials


def test_baselines_survive_every_rung() -> None:
    changes = {"search.trials": 9, "baselines": "[{x1: 1.0}, {x1: 2.0}, {x1: 3.0}, {x1: 4.0}]"}
    assert make_plan(load("branin_space.yaml", set=changes)).survivors == [9, 4, 4]


def test_the_distances_between_images_stand_in_the_plan_of_an_ncsn(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load("ncsn_space.yaml", profile="laptop")
    monkeypatch.setattr(plan, "known_distances", lambda spec: None)
    assert not any("apart" in line for line in plan_lines(make_plan(config), config))
    monkeypatch.setattr(plan, "known_distances", lambda spec: Distances(7.04, 14.96))
    assert "  two training images are 7.0 apart (median), at most 15.0: NCSNv2 takes the latter as sigma_begin" in (
        plan_lines(make_plan(config), config)
    )
