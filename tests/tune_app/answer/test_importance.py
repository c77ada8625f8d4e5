"""Importances, and best values at a bound of their range."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pytest

from search_spaces.to_optuna import suggest
from tests.events import changed, reported
from tune_app.answer import importance
from tune_app.answer.bounds import at_bounds
from tune_app.answer.importance import importances
from tune_app.config.schema import SweepConfig
from tune_app.experiment.events import Reported
from tune_app.experiment.records import TrialRecord

PLANE: dict[str, Any] = {
    "x1": {"type": "float", "low": -5.0, "high": 10.0},
    "x2": {"type": "float", "low": 0.0, "high": 15.0},
}
NCSN: dict[str, Any] = {
    "sigma_begin": {"type": "float", "low": 1.0, "high": 50.0, "log": True},
    "num_scales": {"type": "int", "low": 10, "high": 232, "log": True},
    "ema": {"type": "float", "low": 0.9, "high": 0.99999},
    "width": {"type": "int", "low": 4, "high": 104},
    "arch": {"type": "categorical", "choices": ["unet", "refinenet"]},
    "groups": {"type": "int", "low": 1, "high": 32, "when": {"arch": "unet"}},
    "step_size": {"type": "float", "low": 2.0, "high": 8.0, "stage": "sampling"},
}


def sweep(model: str, parameters: dict[str, Any], **blocks: Any) -> SweepConfig:
    return SweepConfig.model_validate({"version": 1, "name": "a", "model": model, "parameters": parameters, **blocks})


def completed(number: int, params: dict[str, Any], value: float | None, sampling: dict[str, Any]) -> TrialRecord:
    report = changed(reported(f"{number:04d}", 9.0, "stop", kid=value, value=value), sampling=sampling)
    assert isinstance(report, Reported)
    return TrialRecord(f"{number:04d}", params, "sampler", state="completed", reports=[report])


def drawn(config: SweepConfig, count: int, value: Callable[[dict[str, Any]], float]) -> list[TrialRecord]:
    """Return `count` completed trials at random points. Each parameter of the inner search has one of five values."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    rng, records = np.random.default_rng(1), []
    for number in range(count):
        params = suggest(study.ask(), config.space)
        tried = {name: p.midpoints(5) for name, p in config.space.sampling.items()}
        sampling = {name: values[rng.integers(len(values))] for name, values in tried.items()}
        records.append(completed(number, params, value({**params, **sampling}), sampling))
    return records


def bowl(params: dict[str, Any]) -> float:
    return (float(params["x1"]) - 2) ** 2


@pytest.mark.parametrize(("count", "dummy"), [(20, 0.3), (60, 0.2), (200, 0.1)])
def test_of_a_bowl_in_one_parameter_that_one_has_the_share_and_a_dummy_next_to_none(count: int, dummy: float) -> None:
    config = sweep("branin", PLANE)
    whole = importances(config, drawn(config, count, bowl))
    assert whole is not None
    found = whole
    assert [*found] == ["x1", "x2"]
    assert found["x2"].share < dummy
    assert found["x1"].share + found["x2"].share == pytest.approx(1)
    assert 0 < found["x1"].sd == pytest.approx(found["x2"].sd)


def test_more_trials_make_it_surer() -> None:
    config = sweep("branin", PLANE)
    few, many = (importances(config, drawn(config, count, bowl)) for count in (12, 120))
    assert few is not None
    assert many is not None
    assert many["x1"].sd < few["x1"].sd / 2


def test_a_parameter_without_effect_exceeds_chance_in_one_sweep_of_twenty() -> None:
    config = sweep("branin", PLANE)
    rng, above = np.random.default_rng(3), 0
    for seed in range(20):
        records = [completed(n, {"x1": rng.uniform(-5, 10), "x2": rng.uniform(0, 15)}, rng.random(), {})
                   for n in range(24)]  # fmt: skip
        found = importances(config.model_copy(update={"search": config.search.model_copy(update={"seed": seed})}),
                            records, rounds=2)  # fmt: skip
        assert found is not None
        above += sum(one.share > one.chance for one in found.values())
    assert above <= 6  # of 40; 2 are expected


def test_the_seed_of_the_search_fixes_the_draws() -> None:
    config = sweep("branin", PLANE)
    records = drawn(config, 20, bowl)
    assert importances(config, records) == importances(config, records)
    assert importances(config, records) != importances(sweep("branin", PLANE, search={"seed": 1}), records)


def test_of_a_metric_to_maximise_the_highest_values_are_the_good_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    config = sweep("branin", PLANE)
    lowest = importances(config, drawn(config, 20, bowl))
    monkeypatch.setattr(importance, "sign", lambda metric: -1)
    assert importances(config, drawn(config, 20, lambda params: -bowl(params))) == lowest


def test_only_completed_trials_that_have_a_value_count() -> None:
    config = sweep("branin", PLANE)
    records = drawn(config, 8, bowl)
    assert importances(config, records) is not None
    assert importances(config, records[:7]) is None
    stopped = drawn(config, 30, lambda params: -float(params["x2"]))
    for record in stopped:
        record.state = "stopped"
    waiting = TrialRecord("0099", {"x1": 0.0, "x2": 0.0}, "sampler")
    missing = completed(98, {"x1": 0.0, "x2": 0.0}, None, {})
    assert importances(config, [*records, *stopped, waiting, missing]) == importances(config, records)


def test_a_baseline_outside_the_space_does_not_count() -> None:
    config = sweep("branin", PLANE)
    records = drawn(config, 12, bowl)
    outside = [completed(90 + n, {"x1": -4.0, "x2": 1.0, "bias": 9.0}, -9.0, {}) for n in range(6)]
    assert importances(config, [*records, *outside]) == importances(config, records)


def test_where_all_end_alike_or_nothing_varied_there_is_nothing_to_share() -> None:
    config = sweep("branin", PLANE)
    assert importances(config, drawn(config, 20, lambda params: 1.0)) is None
    assert importances(config, [completed(i, {"x1": 0.0, "x2": 1.0}, float(i), {}) for i in range(9)]) == {}


def test_a_parameter_of_one_value_is_left_out() -> None:
    config = sweep("branin", {**PLANE, "bias": {"type": "categorical", "choices": [30]}})
    records = drawn(config, 20, bowl)
    for record in records:
        record.params["x2"] = 1.0
    found = importances(config, records)
    assert found is not None
    assert found["x1"].share == 1.0


@pytest.mark.parametrize("decides", ["sigma_begin", "num_scales", "arch", "step_size"])
def test_every_kind_of_parameter_is_found_to_decide(decides: str) -> None:
    config = sweep("ncsn", NCSN)

    rng = np.random.default_rng(0)

    def value(params: dict[str, Any]) -> float:
        at = params[decides]
        return float(rng.uniform(0, 0.1) + ({"unet": 0, "refinenet": 1}[at] if decides == "arch" else np.log(at)))

    found = importances(config, drawn(config, 120, value))
    assert found is not None
    assert found.keys() == NCSN.keys()
    assert next(iter(found)) == decides
    assert found[decides].share > found[decides].chance
    assert sum(one.share for one in found.values()) == pytest.approx(1)


def test_a_conditional_parameter_is_judged_where_enough_trials_have_it() -> None:
    config = sweep("ncsn", NCSN)

    def value(params: dict[str, Any]) -> float:
        return abs(params["groups"] - 20.0) if params["arch"] == "unet" else 9.0

    records = drawn(config, 60, value)
    found = importances(config, records)
    assert found is not None
    others = ("sigma_begin", "ema", "width", "step_size")
    assert found["groups"].share > max(found[name].share for name in others)
    having = [record for record in records if "groups" in record.params]
    lacking = [record for record in records if "groups" not in record.params]
    for count, judged in ((7, False), (8, True)):
        found = importances(config, [*lacking, *having[:count]])
        assert found is not None
        assert ("groups" in found) is judged


def test_a_setting_that_was_carried_out_outside_its_range_is_passed_over() -> None:
    steps = {"type": "int", "low": 0, "high": 5, "stage": "sampling"}
    config = sweep("ncsn", {"sigma_begin": NCSN["sigma_begin"], "steps_per_level": steps})
    records = drawn(config, 30, lambda params: float(params["sigma_begin"]))
    records[3].reports[0].sampling["steps_per_level"] = 12
    assert importances(config, records) is not None


def test_neither_the_verbosity_nor_a_line_of_optuna_is_left_behind(capsys: pytest.CaptureFixture[str]) -> None:
    config = sweep("branin", PLANE)
    records, before = drawn(config, 9, bowl), optuna.logging.get_verbosity()
    capsys.readouterr()
    importances(config, records)
    assert optuna.logging.get_verbosity() == before
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("params", "lines"),
    [
        (
            {"sigma_begin": 48.9},
            ["sigma_begin 48.9 lies at its upper bound 50: the best value may lie beyond"],
        ),
        ({"num_scales": 10}, ["num_scales 10 lies at its lower bound 10: the best value may lie beyond"]),
        ({"sigma_begin": 41.1}, []),  # 5 % of the range on its log scale is 41.1145 to 50
        ({"sigma_begin": 41.12}, ["sigma_begin 41.12 lies at its upper bound 50: the best value may lie beyond"]),
        ({"width": 99}, ["width 99 lies at its upper bound 104: the best value may lie beyond"]),
        ({"width": 98}, []),
        ({"width": 4, "ema": 0.99999, "groups": 1}, []),  # the model's own bounds
        ({"arch": "unet", "batch_size": 2}, []),  # no range, and not searched
        ({"step_size": 2.6}, ["step_size 2.6 is the tried value nearest to its lower bound 2: "
                              "the best value may lie beyond"]),  # of 2.6, 3.8 ... 7.4
        ({"step_size": 7.0}, ["step_size 7 is the tried value nearest to its upper bound 8: "
                              "the best value may lie beyond"]),  # of 3, 5, 7 at an early rung
        ({"step_size": 3.8}, []),
    ],
)  # fmt: skip
def test_a_value_at_a_bound_that_can_be_widened_is_told(params: dict[str, Any], lines: list[str]) -> None:
    assert [found.sentence for found in at_bounds(sweep("ncsn", NCSN), params)] == lines
