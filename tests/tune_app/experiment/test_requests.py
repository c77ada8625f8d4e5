"""Requests to a running driver."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.events import asked, ended, started
from tune_app.errors import InputError
from tune_app.experiment.folder import Experiment
from tune_app.experiment.lock import resume_lock
from tune_app.experiment.out_folder import create
from tune_app.experiment.requests import request_stop, take_requests


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    made = create(tmp_path, "night")
    events = (started(), asked("0000"), ended("0000"), asked("0001"))
    made.events.write_text("".join(json.dumps(event.as_json()) + "\n" for event in events))
    return made


@pytest.mark.parametrize("trial", ["1", "0001"])
def test_a_trial_may_be_named_without_its_zeros(trial: str, experiment: Experiment) -> None:
    with resume_lock(experiment.folder):
        assert request_stop(experiment, trial) == "0001"
    assert take_requests(experiment) == ["0001"]


@pytest.mark.parametrize(
    ("trial", "said"),
    [
        ("0", "has already ended"),
        ("7", "there is no trial '0007'"),
        ("01", "there is no trial '01'"),
        ("x", "there is no trial 'x'"),
    ],
)
def test_a_trial_that_cannot_stop_is_refused(trial: str, said: str, experiment: Experiment) -> None:
    with resume_lock(experiment.folder), pytest.raises(InputError, match=said):
        request_stop(experiment, trial)


def test_the_whole_sweep_is_stopped_only_while_it_runs(experiment: Experiment) -> None:
    with pytest.raises(InputError, match="no driver runs this experiment"):
        request_stop(experiment)
    with resume_lock(experiment.folder):
        assert request_stop(experiment) is None
    assert take_requests(experiment) == ["all"]
