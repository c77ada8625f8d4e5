"""Watching a sweep of another process: what is shown, and when it ends."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest
from typing_extensions import override

from tests.events import asked, at, ended, reported, started
from tune_app.commands.watch import watch
from tune_app.config.load import dump, load
from tune_app.config.schema import SweepConfig
from tune_app.experiment.events import Event
from tune_app.experiment.folder import Experiment
from tune_app.experiment.lock import resume_lock
from tune_app.experiment.records import Records
from tune_app.trackers.console import Quiet


class Watcher(Quiet):
    """Remembers what it was shown."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.slots = 0
        self.ended = False

    @override
    def begin(self, config: SweepConfig, experiment: Experiment, records: Records, slots: int) -> None:
        self.records, self.slots = records, slots

    @override
    def event(self, event: Event) -> None:
        self.shown.append(event.event)

    @override
    def end(self) -> None:
        self.ended = True


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    made = Experiment(tmp_path)
    made.sweep_yaml.write_text(dump(load("branin_space.yaml")))
    write(made, started(), asked("0000", x1=1.0), asked("0001", x1=2.0))
    return made


def write(experiment: Experiment, *events: Event) -> None:
    with experiment.events.open("a") as file:
        file.write("".join(json.dumps(event.as_json()) + "\n" for event in events))


def drive(experiment: Experiment, *events: Event) -> threading.Thread:
    """Return a running driver that holds the lock until it has written `events`."""
    held = threading.Event()

    def run() -> None:
        with resume_lock(experiment.folder):
            held.set()
            time.sleep(0.5)
            write(experiment, *events)
            time.sleep(0.5)

    driver = threading.Thread(target=run)
    driver.start()
    assert held.wait(5)
    return driver


def test_only_what_happens_from_now_on_is_shown_until_the_sweep_ends(experiment: Experiment) -> None:
    console, end = Watcher(), at(5, "sweep_ended", state="completed", hours=0.1)
    driver = drive(experiment, reported("0000", 27.0, "stop", value=1.0), ended("0000"), ended("0001"), end)
    watch(experiment, console)
    driver.join()
    assert console.shown == ["reported", "ended", "ended", "sweep_ended"]
    assert (console.slots, console.ended, console.records.state) == (2, True, "completed")
    assert console.records.trials["0000"].value("value") == 1.0


def test_the_watch_ends_with_a_driver_that_was_killed(experiment: Experiment) -> None:
    console = Watcher()
    driver = drive(experiment, reported("0000", 27.0, "stop", value=1.0))
    watch(experiment, console)
    driver.join()
    assert console.shown == ["reported"]
    assert (console.ended, console.records.state) == (True, "running")
