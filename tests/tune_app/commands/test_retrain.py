"""The configuration of a retraining, made from the log of a sweep."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Cli
from tests.events import asked, at, changed, ended, reported, started
from tune_app.commands.enqueue import enqueue
from tune_app.commands.retrain import RetrainRequest, retraining_config
from tune_app.config.load import dump, load
from tune_app.config.schema import SweepConfig
from tune_app.driver import shared_data
from tune_app.driver.shared_data import SharedData
from tune_app.driver.trial_spec import run_spec, trial_seed
from tune_app.errors import InputError
from tune_app.experiment.events import Event
from tune_app.experiment.folder import Experiment
from tune_app.trackers.console import Quiet

END = 28.0
Swept = Callable[..., Experiment]
VALUES = {"sigma_begin": 2.0, "sigma_end": 0.01, "num_scales": 20, "lr": 1e-3}


def trial(name: str, kid: float, source: str = "sampler", step: float = 3.0, **params: float | str) -> list[Event]:
    """Return a trial that ran to its end. Its last evaluation chose `step`."""
    last = changed(
        reported(name, END, "stop", kid=kid, kid_stderr=0.01), sampling={"step_size": step, "sampler": "langevin"}
    )
    return [asked(name, source, **{**VALUES, **params}), last, ended(name, kimg=END)]


def rechecked(trial: str, kid: float, step: float) -> Event:
    draws = [{"kid": kid - 0.01, "kid_stderr": 0.01}, {"kid": kid + 0.01, "kid_stderr": 0.01}]
    return at(0, "rechecked", trial=trial, kimg=END, seconds=1.0, sampling={"step_size": step, "sampler": "langevin"},
              draws=draws, same=draws, pictures={}, features="randconv 12")  # fmt: skip


@pytest.fixture
def swept(tmp_path: Path) -> Swept:
    """Return a function that writes the folder of a laptop sweep with these events."""

    def write(
        events: Sequence[Event],
        name: str = "ncsn-20260101-000000",
        log: Mapping[str, Any] | None = None,
        **changes: object,
    ) -> Experiment:
        made = Experiment(tmp_path / name)
        made.trials.mkdir(parents=True)
        config = load("ncsn_space.yaml", profile="laptop", set={"search.seed": 4, "budget.hours": 2.0, **changes})
        made.sweep_yaml.write_text(dump(config))
        lines = [started(identity="ab12", sample_metrics=2, **(log or {})), *events]
        made.events.write_text("".join(json.dumps(event.as_json()) + "\n" for event in lines))
        return made

    return write


SWEEP = [
    *trial("0000", 0.30, "baseline", sigma_begin=1.0),
    *trial("0001", 0.40, "baseline", sigma_begin=1.0, conditioning="sigma"),
    *trial("0002", 0.10, step=3.5),
    *trial("0003", 0.12, step=6.0, sigma_begin=3.0),
    *trial("0004", 0.20, sigma_begin=4.0),
    rechecked("0002", 0.25, step=4.5),
    rechecked("0003", 0.15, step=5.5),
]


def made(experiment: Experiment, **request: object) -> SweepConfig:
    return retraining_config(experiment, RetrainRequest(**request), experiment.folder.parent)  # type: ignore[arg-type]


def names(config: SweepConfig) -> list[tuple[str, str]]:
    assert config.retraining
    return [(setting.name, setting.trial) for setting in config.retraining.settings]


def test_the_winner_by_fresh_seeds_is_trained_in_full_with_the_sampling_setting_of_its_re_evaluation(
    swept: Swept,
) -> None:
    config = made(swept(SWEEP))
    assert names(config) == [("winner", "0003")]
    assert config.baselines == 3 * [{**VALUES, "sigma_begin": 3.0, "step_size": 5.5}]
    assert (config.search.trials, config.scheduler.type, config.rungs) == (3, "none", [END])
    assert (config.recheck.trials, config.recheck.seeds) == (0, 0)
    assert config.budget.hours is None
    again = load("ncsn_space.yaml", profile="laptop").recheck
    assert (config.evaluation.final_samples, config.evaluation.nfe) == (again.draws * again.samples, again.nfe)
    assert config.retraining
    promise = config.retraining.settings[0].promised["kid"]
    assert promise.value == pytest.approx(0.15)
    assert promise.stderr == pytest.approx(0.01)


def test_each_training_has_one_sampling_setting_and_a_seed_that_the_sweep_has_not_used(swept: Swept) -> None:
    config = made(swept(SWEEP))
    spec = run_spec(config, config.baselines[0], seed=0)
    assert [dict(setting)["step_size"] for setting in spec.final_sampling] == [5.5]
    assert spec.data.evaluated_on == "test"
    swept_seeds = {trial_seed(4, number) for number in range(1000)}
    assert not swept_seeds & {trial_seed(config.search.seed, number) for number in range(1000)}
    assert made(swept(SWEEP, "other"), seed=9).search.seed == 9


def test_the_sweep_itself_never_sees_the_test_images(swept: Swept) -> None:
    assert run_spec(swept(SWEEP).config(), VALUES, seed=0).data.evaluated_on == "held_out"


def test_the_best_settings_come_in_the_order_of_fresh_values_then_of_the_sweeps_own(swept: Swept) -> None:
    config = made(swept(SWEEP), top=4, seeds=2)
    assert names(config) == [("winner", "0003"), ("rank 2", "0002"), ("rank 3", "0004"), ("rank 4", "0000")]
    assert [one["sigma_begin"] for one in config.baselines] == 2 * [3.0, 2.0, 4.0, 1.0]


def test_baselines_are_trained_in_the_same_way_and_keep_what_the_sweep_does_not_search(swept: Swept) -> None:
    config = made(swept(SWEEP), with_baselines=True, seeds=2)
    assert names(config) == [("winner", "0003"), ("baseline 0000", "0000"), ("baseline 0001", "0001")]
    assert config.baselines[2] == {**VALUES, "sigma_begin": 1.0, "conditioning": "sigma", "step_size": 3.0}
    assert config.retraining
    assert [one.baseline for one in config.retraining.settings] == [False, True, True]
    twice = made(swept(SWEEP, "best baseline"), top=5, with_baselines=True)
    assert len(names(twice)) == 5, "a setting is trained once"


def test_a_trial_is_chosen_by_its_id(swept: Swept) -> None:
    assert names(made(swept(SWEEP), trials=("0004", "0002"))) == [("trial 0004", "0004"), ("trial 0002", "0002")]
    again = [changed(asked("0005", "retraining", **VALUES), retrains="0004"),
             reported("0005", END, "stop", kid=0.2), ended("0005", kimg=END)]  # fmt: skip
    both = made(swept([*SWEEP, *again], "with a retraining"), trials=("0004", "0005"))
    assert names(both) == [("trial 0004", "0004")], "trial 0005 has the same setting"


def test_settings_that_the_sweep_trained_again_come_before_those_it_judged_by_one_training(swept: Swept) -> None:
    again = []
    for number, (of, kid) in enumerate([("0003", 0.20), ("0003", 0.22), ("0000", 0.40), ("0000", 0.42)], start=5):
        name = f"{number:04d}"
        again += [changed(asked(name, "retraining", **VALUES), retrains=of), reported(name, END, "stop", kid=kid),
                  ended(name, kimg=END), rechecked(name, kid, step=3.0)]  # fmt: skip
    config = made(swept([*SWEEP, rechecked("0000", 0.3, step=3.0), *again]), top=3)
    assert names(config) == [("winner", "0003"), ("rank 2", "0000"), ("rank 3", "0002")]
    assert config.retraining
    assert [one.promised["kid"].value for one in config.retraining.settings] == pytest.approx([0.21, 0.41, 0.25])


@pytest.mark.parametrize(
    ("now", "sentence"),
    [
        ({"searched": "another"}, "data: these are not the images that .* was started with"),
        ({"features": {"randconv": "another"}}, "features.pt: these are not the features of the sweep"),
    ],
)
def test_other_images_or_features_than_the_sweeps_are_refused(
    now: dict[str, Any], sentence: str, swept: Swept, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = swept(SWEEP, log={"data": "images", "features": {"randconv": "12"}})
    known = {"data": "retraining", "searched": "images", "features": {"randconv": "12"}}
    asked_of: list[object] = []

    def prepared(config: SweepConfig, console: Quiet, experiment: Experiment, version: int) -> SharedData:
        asked_of.extend([experiment, version])
        return SharedData(**{**known, **now})

    monkeypatch.setattr(shared_data, "prepare_data", prepared)
    with pytest.raises(InputError, match=sentence):
        shared_data.prepare_new(made(sweep), Quiet())
    assert asked_of == [sweep, 2]
    now.clear()
    assert shared_data.prepare_new(made(sweep), Quiet()).searched == "images"


@pytest.mark.parametrize(
    ("events", "request_", "sentence"),
    [
        ([], {}, "no trial has finished, so no setting can be trained again"),
        ([asked("0000", **VALUES), reported("0000", 14.0, kid=0.3)], {}, "no trial has finished"),
        (SWEEP, {"trials": ("0077",)}, "--trial 0077: no such trial has reached a rung"),
        (trial("0000", 0.2), {"with_baselines": True}, "no baseline has finished"),
        (SWEEP, {"seeds": 9000, "top": 2}, "18000 trainings are more than 10000"),
        (SWEEP, {"sets": {"scheduler.max_kimg": "56"}}, "scheduler.max_kimg: the experiment started with 28"),
        (SWEEP, {"name": "../away"}, "its settings cannot be trained again: name"),
    ],
)
def test_what_cannot_be_trained_again_is_refused_with_a_sentence(
    events: list[Event], request_: dict[str, object], sentence: str, swept: Swept
) -> None:
    experiment = swept(events)
    with pytest.raises(InputError, match=sentence):
        made(experiment, **request_)
    assert [path.name for path in experiment.folder.parent.iterdir()] == [experiment.folder.name]


def test_a_retraining_is_neither_trained_again_nor_given_another_point(swept: Swept) -> None:
    sweep = swept(SWEEP)
    again = swept([], "again")
    again.sweep_yaml.write_text(dump(made(sweep)))
    with pytest.raises(InputError, match="this is a retraining of"):
        made(again)
    with pytest.raises(InputError, match="takes no other"):
        enqueue(again, {"lr": "0.001"})


def test_a_second_retraining_warns_that_the_test_images_were_used(swept: Swept) -> None:
    sweep = swept(SWEEP)
    first = made(sweep)
    assert first.retraining
    assert first.retraining.earlier == []
    again = swept(trial("0000", 0.2), "again")
    again.sweep_yaml.write_text(dump(first))
    second = made(sweep)
    assert second.retraining
    assert second.retraining.earlier == [str(again.folder)]


def test_two_objectives_promise_both_and_compare_by_the_first(swept: Swept) -> None:
    both = [changed(event, metrics={"kid": 0.2, "seconds": 9.0}) if "metrics" in event.as_json() else event
            for event in trial("0000", 0.2)]  # fmt: skip
    config = made(swept(both, **{"metrics": "[kid, seconds]"}))
    assert (config.metric.name, config.metrics) == ("kid", [])
    assert config.retraining
    assert set(config.retraining.settings[0].promised) == {"kid", "seconds"}


@pytest.mark.parametrize(
    ("log", "sentence"),
    [
        (None, "not an experiment folder: events.jsonl is missing"),
        ("", "no trial has finished, so no setting can be trained again"),
        ("half a li\n", "events.jsonl:1: this line of the event log is damaged"),
    ],
)
def test_a_folder_that_is_no_finished_sweep_ends_with_exit_code_2_and_nothing_is_written(
    log: str | None, sentence: str, swept: Swept, cli: Cli
) -> None:
    experiment = swept([])
    experiment.events.unlink() if log is None else experiment.events.write_text(log)
    before = sorted(experiment.folder.parent.rglob("*"))
    done = cli("retrain", str(experiment.folder), "--out", str(experiment.folder.parent))
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(experiment.folder.parent.rglob("*")) == before
