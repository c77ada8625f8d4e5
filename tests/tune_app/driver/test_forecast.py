"""The forecast: arithmetic by hand, and the costs in the log of an earlier experiment."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.events import asked, at, changed, ended, reported, started
from trainables.files import write_json
from tune_app.cluster.hardware import Hardware
from tune_app.config.load import load
from tune_app.config.methods import with_methods_written_out
from tune_app.config.schema import SweepConfig
from tune_app.driver.forecast import FINISH_SECONDS, Basis, make_forecast
from tune_app.driver.known_costs import keep_probe, known_forecast
from tune_app.driver.probe import probed_settings
from tune_app.experiment.events import Event
from tune_app.experiment.forecast import TrialCost
from tune_app.experiment.log import EventLog

MACHINE = Hardware(2.0, 0.0, 2)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNE_APP_CACHE", str(tmp_path / "cache"))


def basis(*others: TrialCost, baselines: tuple[TrialCost, ...] = (), slots: int = 2) -> Basis:
    return Basis(
        name="a probe", slots=slots, baselines=[*baselines], others=[*others], start_seconds=9.0, phase_seconds=3.0,
        checkpoint_bytes=1e6, picture_bytes=1e3,
    )  # fmt: skip


def vae(**changes: object) -> SweepConfig:
    fewer = {
        "search.trials": 4,
        "scheduler.rungs": [10, 20],
        "scheduler.max_kimg": 20,
        "scheduler.grace_kimg": 10,
        "recheck.seeds": 0,
    }
    return load("beta_vae_space.yaml", profile="laptop", set={**fewer, **changes})


def test_the_forecast_adds_up_the_start_the_search_the_re_evaluation_and_the_trainings_with_fresh_seeds() -> None:
    config = vae(**{"recheck.seeds": 2, "recheck.trials": 1, "scheduler.trust": "{error: 0.1}"})
    baseline = TrialCost(kimg=2.0, rung=1.0, final=4.0, recheck=10.0)
    made = make_forecast(config, basis(baseline.model_copy(update={"kimg": 1.0}), baselines=(baseline, baseline)))
    # two slots: the baselines take 45 s each, then two trials of 25 s; no rung can be trusted by 4 trials at their end
    search, start = 45 + 25, 9 + FINISH_SECONDS
    mean = 1.5 * 20 + 4  # a training with a fresh seed
    low = start + (3 + search) + (3 + 10) + (3 + 2 * mean) + (3 + 2 * 10)  # the best baseline is among the best two
    high = start + (3 + search) + (3 + 10) + (3 + 3 * mean) + (3 + 3 * 10)
    assert made.hours == pytest.approx([low / 3600, high / 3600])
    assert made.gpu_hours == [0.0, 0.0]
    assert made.cost.kimg == pytest.approx(1.5)
    assert made.disk_bytes[1] == pytest.approx((4 + 6) * (3e6 + 20_000) + (8 + 2 + 12) * 1e3)


def test_early_stopping_at_its_best_ends_half_of_the_trials_at_the_rung() -> None:
    config = vae(**{"baselines": [], "scheduler.trust": None, "recheck.trials": 0, "search.trials": 16})
    low, high = make_forecast(config, basis(TrialCost(kimg=1.0), slots=1)).hours
    start = 9 + 3 + FINISH_SECONDS
    assert high * 3600 == pytest.approx(start + 16 * 20)
    assert start + 16 * 10 + 4 * 10 < low * 3600 < start + 16 * 10 + 14 * 10


def test_a_budget_limits_the_hours() -> None:
    config = vae(**{"budget.hours": 0.01})
    assert make_forecast(config, basis(TrialCost(kimg=100.0))).hours == [0.01, 0.01]


def experiment(out: Path, config: SweepConfig) -> None:
    """Write an experiment with one trial: 2 s for a kimg, and evaluations of 5 and 7 s."""
    folder = out / "night-20260101-000000"
    folder.mkdir(parents=True)
    config = with_methods_written_out(config)
    logged = {"config": config.model_dump(mode="json", exclude={"profiles"}), "constants": config.constants}
    again = {"kimg": 20.0, "seconds": 11.0, "sampling": {}, "draws": [], "same": [], "pictures": {}, "features": ""}
    middle, end = {"kid": 0.2, "evaluation_seconds": 5.0}, {"kid": 0.1, "evaluation_seconds": 7.0}
    events: list[Event] = [
        started(**logged, preparation=8.0),
        asked("0000", beta=0.5, latent_dim=8, lr=1e-3),
        changed(reported("0000", 5.0, rung=False), seconds=10.0, hours=16 / 3600),
        changed(reported("0000", 10.0, **middle), seconds=10.0 + 5),
        changed(reported("0000", 20.0, "stop", **end), seconds=20.0 + 7),
        ended("0000", kimg=20.0),
        at(9, "rechecked", trial="0000", **again),
    ]
    log = EventLog(folder / "events.jsonl")
    for event in events:
        log.append(event)
    log.close()
    write_json(folder / "manifest.json", {"hardware": {"cpus": 2.0, "gpus": 0.0, "slots": 2}})


def test_an_earlier_experiment_gives_the_costs_that_its_log_holds(tmp_path: Path) -> None:
    config = vae()
    assert known_forecast(config, tmp_path, MACHINE) is None
    experiment(tmp_path, config)
    found = known_forecast(config, tmp_path, MACHINE)
    assert found
    assert found.basis == "experiment night-20260101-000000 (1 trial)"
    assert found.cost == TrialCost(kimg=2.0, rung=5.0, final=7.0, recheck=11.0)
    assert (found.start_seconds, found.phase_seconds) == (8.0, pytest.approx(6.0))
    assert known_forecast(config, tmp_path, Hardware(8.0, 0.0, 8)) is None


def test_evaluations_of_another_size_are_scaled(tmp_path: Path) -> None:
    config = vae()
    experiment(tmp_path, config)
    once = config.evaluation
    twice = vae(**{"evaluation.samples": 2 * once.samples, "evaluation.final_samples": 3 * once.final_samples})
    found = known_forecast(twice, tmp_path, MACHINE)
    assert found
    assert (found.cost.rung, found.cost.final) == pytest.approx((10.0, 21.0))


@pytest.mark.parametrize("changes", [{"fixed.width": 32}, {"data.resolution": 32}, {"parameters.latent_dim.low": 9}])
def test_an_experiment_with_other_networks_images_or_ranges_says_nothing(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    experiment(tmp_path, vae())
    assert known_forecast(vae(**changes), tmp_path, MACHINE) is None


def test_a_probe_is_kept_for_the_same_configuration_alone(tmp_path: Path) -> None:
    config = vae()
    experiment(tmp_path, config)
    keep_probe(config, MACHINE, basis(TrialCost(kimg=3.0)))
    found = known_forecast(with_methods_written_out(vae(**{"search.trials": 6})), tmp_path, MACHINE)
    assert found
    assert (found.basis, found.cost.kimg) == ("a probe", 3.0), "it is newer than the experiment"
    assert known_forecast(vae(**{"fixed.width": 32}), tmp_path, MACHINE) is None


def test_the_probe_takes_baselines_and_covers_the_range_of_every_parameter() -> None:
    config = vae()
    baselines, others = probed_settings(config, slots=2)
    assert baselines == [dict(params) for params in config.baselines[:2]]
    for name, parameter in config.space.training.items():
        assert sorted(params[name] for params in others) == sorted(parameter.midpoints(4)), name
