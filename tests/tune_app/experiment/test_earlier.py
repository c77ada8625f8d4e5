"""Trials of earlier experiments: which ones inform a new sweep, and why the others do not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.events import asked, changed, ended, reported, started
from tune_app.config.load import load
from tune_app.config.schema import SweepConfig
from tune_app.errors import ConfigError, InputError
from tune_app.experiment import earlier
from tune_app.experiment.earlier import earlier_trials, with_earlier_found, with_earlier_of
from tune_app.experiment.events import Event, SweepStarted
from tune_app.experiment.log import read
from tune_app.experiment.out_folder import create
from tune_app.experiment.records import Records


def branin(**changes: object) -> SweepConfig:
    return load("branin_space.yaml", set={key.replace("__", "."): value for key, value in changes.items()})


def trial(number: int, x1: float, value: float, *, state: str = "completed", **more: float) -> list[Event]:
    name, kimg = f"{number:04d}", 27.0 if state == "completed" else 9.0
    params = {"x1": x1, "x2": 2.0, "step_seconds": 0.0, **more}
    return [asked(name, **params), reported(name, kimg, "stop", value=value), ended(name, state, kimg=kimg)]


def experiment(out: Path, *events: list[Event], config: SweepConfig | None = None, **fields: object) -> str:
    """Write an earlier experiment and return its folder."""
    made = create(out, "night")
    begun = started(config=(config or branin()).model_dump(mode="json", exclude={"profiles"}), **fields)
    lines = [json.dumps(event.as_json()) for event in (begun, *(event for group in events for event in group))]
    made.events.write_text("\n".join(lines) + "\n")
    return str(made.folder)


def warm(folder: str, **changes: object) -> earlier.Earlier:
    return earlier_trials(branin(search__warm_start=[folder], **changes), data="", features={})


def test_finished_trials_inform_the_sampler_with_the_searched_parameters(tmp_path: Path) -> None:
    folder = experiment(tmp_path, trial(0, 1.0, 5.0), trial(1, 2.0, 9.0, state="stopped"))
    found = warm(folder)
    assert [(one.trial, one.state, one.params, one.rungs) for one in found.trials] == [
        ("0000", "completed", {"x1": 1.0, "x2": 2.0}, [[27.0, 5.0]]),
        ("0001", "stopped", {"x1": 2.0, "x2": 2.0}, [[9.0, 9.0]]),
    ]
    assert found.trials[0].experiment == folder
    assert found.lines == [f"warm start: 2 of 2 trials of {Path(folder).name} inform the sampler"]


def test_each_trial_that_is_left_out_has_a_reason(tmp_path: Path) -> None:
    unfinished = trial(3, 1.0, 5.0)[:1]
    again = [changed(trial(4, 1.0, 5.0)[0], source="retraining", retrains="0000"), *trial(4, 1.0, 5.0)[1:]]
    events = (
        trial(0, 1.0, 5.0), trial(1, 9.0, 5.0), trial(2, 1.0, 5.0, state="failed"), unfinished, again,
        trial(5, 1.0, 5.0, bias=7.0), [asked("0006", x1=1.0, x2=2.0), ended("0006", "stopped")],
    )  # fmt: skip
    found = warm(experiment(tmp_path, *events), parameters__x1__high=8)
    assert [one.trial for one in found.trials] == ["0000"]
    assert "1 of 7 trials" in found.lines[0]
    reasons = set(found.lines[1].removeprefix("  left out ").split("; "))
    assert reasons == {
        "1: x1 must lie in [-5, 8]", "1: failed", "1: not finished", "1: a setting that was trained again",
        "1: bias is not 30.0", "1: stopped before its first rung",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"scheduler.max_kimg": 81}, "another max_kimg (81)"), ({"metric.name": "value"}, "")],
)
def test_an_experiment_whose_values_do_not_compare_is_left_out(
    changes: dict[str, object], said: str, tmp_path: Path
) -> None:
    config = load("branin_space.yaml", set=changes)
    found = warm(experiment(tmp_path, trial(0, 1.0, 5.0), config=config))
    assert (found.lines[0].rpartition(": ")[2] if said else "") == said
    assert bool(found.trials) is not bool(said)


def test_another_model_other_images_and_another_metric_are_named(tmp_path: Path) -> None:
    folder = experiment(tmp_path, trial(0, 1.0, 5.0), data="cats")
    assert "informs the sampler: other images" in warm(folder).lines[0]
    beta_vae = load("beta_vae_space.yaml", profile="laptop")
    other = experiment(tmp_path, config=beta_vae, data="shapes", features={"cnn": "1"}, sample_metrics=2)
    assert "another model (beta_vae)" in warm(other).lines[0]
    config = load(
        "beta_vae_space.yaml",
        profile="laptop",
        set={"metric.name": "fd", "search.warm_start": [other], "evaluation.nfe": 7},
    )
    (line,) = earlier_trials(config, "shapes", {"cnn": "2"}).lines
    nfe = beta_vae.evaluation.nfe
    assert line.endswith(f": another metric (kid), other features, another evaluation.nfe ({nfe})")


def test_a_parameter_that_was_fixed_there_may_be_searched_here(tmp_path: Path) -> None:
    fixed = branin(parameters__x2=None, fixed__x2=2.0)
    events = [changed(trial(0, 1.0, 5.0)[0], params={"x1": 1.0, "x2": 2.0}), *trial(0, 1.0, 5.0)[1:]]
    found = warm(experiment(tmp_path, events, config=fixed))
    assert [one.params for one in found.trials] == [{"x1": 1.0, "x2": 2.0}]


def test_a_long_history_is_cut_to_its_best_and_its_newest_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(earlier, "MOST_BEST", 2)
    monkeypatch.setattr(earlier, "MOST_NEWEST", 3)
    values = [5.0, 1.0, 7.0, 2.0, 9.0, 9.0, 9.0]
    found = warm(experiment(tmp_path, *(trial(n, 1.0, value) for n, value in enumerate(values))))
    assert [one.trial for one in found.trials] == ["0001", "0003", "0004", "0005", "0006"]


def test_the_log_keeps_the_trials(tmp_path: Path) -> None:
    found = warm(experiment(tmp_path, trial(0, 1.0, 5.0)))
    event = SweepStarted.model_validate({**started().as_json(), "warm_start": found.trials})
    path = tmp_path / "events.jsonl"
    path.write_text(json.dumps(event.as_json()) + "\n")
    records = Records(read(path))
    assert records.warm_start == found.trials
    assert not records.trials


def test_names_become_folders_and_a_missing_experiment_is_refused(tmp_path: Path) -> None:
    folder = experiment(tmp_path, trial(0, 1.0, 5.0))
    names = [Path(folder).name, "latest", folder]
    assert with_earlier_found(branin(search__warm_start=names), tmp_path).search.warm_start == [folder]
    with pytest.raises(InputError, match=r"search\.warm_start: gone: not an experiment folder"):
        with_earlier_found(branin(search__warm_start=["gone"]), tmp_path)
    with pytest.raises(ConfigError, match="warm_start: has no effect with sampler random"):
        branin(search__warm_start=["latest"], search__sampler="random")


@pytest.mark.parametrize(("given", "kept"), [("latest", True), ("night-1", True), ("/new/night-1", True), ("x", False)])
def test_a_resume_may_name_the_experiments_as_the_start_did(given: str, kept: bool) -> None:
    before, again = branin(search__warm_start=["/old/night-1"]), branin(search__warm_start=[given])
    assert (with_earlier_of(before, again) == before) is kept
