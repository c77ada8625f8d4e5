"""The answer of `enqueue`: the trial that runs the point, that it waits, or that `resume` runs it."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from tests.events import asked, changed, started
from tune_app.commands.enqueue import enqueue, enqueued_lines
from tune_app.config.load import dump, load
from tune_app.errors import ConfigError
from tune_app.experiment.folder import Experiment
from tune_app.experiment.lock import resume_lock
from tune_app.experiment.out_folder import create


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    made = create(tmp_path, "night")
    made.sweep_yaml.write_text(dump(load("branin_space.yaml")))
    made.events.write_text(json.dumps(started().as_json()) + "\n")
    return made


def run_the_next_point(experiment: Experiment) -> None:
    """Log the next point as trial 0000, as a driver does."""
    while not (files := [*experiment.queue.glob("*.json")]):
        time.sleep(0.01)
    event = changed(asked("0000", "person", x1=1.0), request=files[0].stem)
    with experiment.events.open("a") as log:
        log.write(json.dumps(event.as_json()) + "\n")


def test_the_trial_is_named_if_it_starts_soon(experiment: Experiment) -> None:
    driver = threading.Thread(target=run_the_next_point, args=(experiment,))
    driver.start()
    with resume_lock(experiment.folder):
        added = enqueue(experiment, {"x1": "1"}, seconds=30)
    driver.join()
    assert (added.trial, added.running, added.params) == ("0000", True, {"x1": 1})
    assert enqueued_lines(added, "night") == ["trial 0000 runs this point"]


def test_a_point_waits_if_no_slot_is_free(experiment: Experiment) -> None:
    with resume_lock(experiment.folder):
        added = enqueue(experiment, {"x1": "1"}, seconds=0.1)
    assert added.trial is None
    assert enqueued_lines(added, "night") == ["stored: the point starts as the next trial, as soon as a slot is free"]


def test_a_point_of_a_sweep_that_does_not_run_is_stored_for_a_resume(experiment: Experiment) -> None:
    added = enqueue(experiment, {"x1": "1"})
    assert (added.trial, added.running) == (None, False)
    assert enqueued_lines(added, "night")[1] == "run the point with: python -m tune_app resume night"
    with pytest.raises(ConfigError):
        enqueue(experiment, {"x1": "99"})
    assert len([*experiment.queue.iterdir()]) == 1
