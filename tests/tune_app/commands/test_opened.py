"""An experiment in Python: typed results, a table of all trials, and the console of a notebook."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import tune_app
from tests.events import asked, at, ended, reported, started
from tune_app.commands.opened import OpenedExperiment, check_any_succeeded, progress_console
from tune_app.config.load import dump, load
from tune_app.errors import InputError, SweepFailedError
from tune_app.experiment.events import Event
from tune_app.experiment.out_folder import create
from tune_app.trackers.console import Plain
from tune_app.trackers.live_table import LiveTable


def opened(out: Path, *events: Event) -> OpenedExperiment:
    made = create(out, "night")
    made.sweep_yaml.write_text(dump(load("branin_space.yaml")))
    made.events.write_text("".join(json.dumps(event.as_json()) + "\n" for event in (started(), *events)))
    return tune_app.open(made.folder)


@pytest.fixture
def two_trials(tmp_path: Path) -> OpenedExperiment:
    first = [asked("0000", "baseline", x1=1.0, x2=2.0), reported("0000", 27, "stop", value=3.5, loss=1.0)]
    return opened(tmp_path, *first, ended("0000", kimg=27), asked("0001", x1=4.0, x2=5.0))


def test_the_best_trial_and_the_records_are_objects(two_trials: OpenedExperiment) -> None:
    best = two_trials.best()
    assert best is not None
    assert (best.trial, best.value, best.params) == ("0000", 3.5, {"x1": 1.0, "x2": 2.0})
    assert [record.state for record in two_trials.records()] == ["completed", "running"]


def test_the_table_has_one_row_for_each_trial(two_trials: OpenedExperiment) -> None:
    frame = two_trials.dataframe()
    assert list(frame.index) == ["0000", "0001"]
    assert list(frame["source"]) == ["baseline", "sampler"]
    assert frame.loc["0000", ["kimg", "x1", "value"]].to_list() == [27.0, 1.0, 3.5]
    assert frame["value"].isna().to_list() == [False, True]


def test_an_experiment_without_trials_has_an_empty_table(tmp_path: Path) -> None:
    empty = opened(tmp_path)
    assert empty.dataframe().empty
    assert empty.best() is None


def test_a_missing_pandas_is_a_sentence(two_trials: OpenedExperiment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match="pip install pandas"):
        two_trials.dataframe()


def test_a_model_without_images_cannot_be_loaded(two_trials: OpenedExperiment) -> None:
    with pytest.raises(InputError, match="branin is no model of images"):
        two_trials.load_model()


def test_a_sweep_in_which_every_trial_failed_raises(tmp_path: Path, two_trials: OpenedExperiment) -> None:
    check_any_succeeded(two_trials)
    failure = at(0, "failed", trial="0000", kind="error", message="ValueError: no", retry=False)
    events = [asked("0000"), failure, ended("0000", "failed", "error"), at(0, "sweep_ended", state="failed", hours=0.1)]
    failed = opened(tmp_path, *events)
    with pytest.raises(SweepFailedError, match="every trial failed; trial 0000: ValueError: no") as caught:
        check_any_succeeded(failed)
    assert caught.value.folder == failed.folder
    assert caught.value.exit_code == 1


@pytest.mark.parametrize(("shell", "widgets", "kind"), [
    ("ZMQInteractiveShell", True, LiveTable), ("ZMQInteractiveShell", False, Plain),
    ("TerminalInteractiveShell", True, Plain),
])  # fmt: skip
def test_a_notebook_gets_a_live_table(
    shell: str, widgets: bool, kind: type[Plain] | type[LiveTable], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = type(shell, (), {})()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: fake))
    monkeypatch.setattr("tune_app.commands.opened.find_spec", lambda name: object() if widgets else None)
    assert type(progress_console()) is kind


def test_a_script_gets_plain_lines() -> None:
    assert type(progress_console()) is Plain
