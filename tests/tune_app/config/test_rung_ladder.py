"""The rung ladder of new sweeps and of experiments that version 0.1 started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tune_app.config.load import dump, load, load_resolved, restored
from tune_app.config.rung_ladder import rung_ladder

OVERLAP = {
    "sigma_begin": {"type": "float", "low": 0.02, "high": 1.0},
    "sigma_end": {"type": "float", "low": 0.01, "high": 0.05},
}


@pytest.mark.parametrize(
    ("grace", "longest", "factor", "ladder"),
    [
        (3, 27, 3, [3, 9, 27]),
        (2.9, 27, 3, [3, 9, 27]),
        (3.1, 27, 3, [9, 27]),
        (10, 27, 3, [27]),
        (27, 27, 3, [27]),
        (740, 20000, 3, [740.741, 2222.222, 6666.667, 20000]),
        (14, 28, 2, [14, 28]),
        (1, 10, 2.5, [1.6, 4, 10]),
    ],
)
def test_no_rung_is_closer_to_the_next_than_one_factor(
    grace: float, longest: float, factor: float, ladder: list[float]
) -> None:
    assert rung_ladder(grace, longest, factor) == pytest.approx(ladder, abs=0.0006)


def test_the_shipped_sweeps_end_a_factor_above_their_last_rung_but_one() -> None:
    for space in ("ncsn_space.yaml", "beta_vae_space.yaml", "branin_space.yaml"):
        for profile in (None, "laptop"):
            if profile and space == "branin_space.yaml":
                continue
            config = load(space, profile=profile)
            for low, high in zip(config.rungs, config.rungs[1:], strict=False):
                assert high / low == pytest.approx(config.scheduler.reduction_factor, rel=1e-3)


def test_given_rungs_are_used() -> None:
    rungs = {"scheduler.rungs": "[3, 20, 27]"}
    assert load("branin_space.yaml", set=rungs).rungs == [3, 20, 27]
    assert load("branin_space.yaml", set={**rungs, "scheduler.type": "none"}).rungs == [27]


def of_version_0_1(**changes: Any) -> dict[str, Any]:
    """Return the resolved configuration as version 0.1 wrote it."""
    saved: dict[str, Any] = load("ncsn_space.yaml").model_dump(mode="json", exclude={"profiles"})
    del saved["scheduler"]["rungs"]
    return {**saved, **changes}


def test_an_experiment_of_version_0_1_keeps_its_rungs(tmp_path: Path) -> None:
    config = restored(of_version_0_1(), tmp_path)
    assert config.rungs == [740, 2220, 6660, 19980, 20000]
    (tmp_path / "sweep.yaml").write_text(dump(config))
    assert load_resolved(tmp_path / "sweep.yaml").rungs == config.rungs
    longer = of_version_0_1()
    longer["scheduler"]["grace_kimg"] = 20000.0
    assert restored(longer, tmp_path).rungs == [20000]


def test_an_experiment_of_version_0_1_may_do_what_is_refused_today(tmp_path: Path) -> None:
    saved = of_version_0_1(parameters=OVERLAP, baselines=[])
    saved["evaluation"]["report_kimg"] = 0.1
    assert restored(saved, tmp_path).parameters.keys() == OVERLAP.keys()
