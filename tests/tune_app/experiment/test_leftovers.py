"""Checkpoints and files that a killed driver left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.events import asked, changed, ended, reported, started
from trainables import checkpoint
from tune_app.experiment.events import Event
from tune_app.experiment.folder import PARK_FILE, Experiment
from tune_app.experiment.leftovers import remove_leftovers, restarting_trials
from tune_app.experiment.log import EventLog
from tune_app.experiment.out_folder import create
from tune_app.experiment.records import Records


class Killed:
    """An experiment whose driver was killed after `events`, and its log opened again."""

    def __init__(self, folder: Path, *events: Event) -> None:
        self.experiment: Experiment = create(folder, "killed")
        self.log, self.records = EventLog(self.experiment.events), Records()
        self.log.subscribe(self.records.apply)
        for event in (started(), *events):
            self.log.append(event)

    def save(self, name: str, trial: str = "0000") -> Path:
        folder = self.experiment.trial(trial) / name
        folder.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.write(folder, {"x": 1}, {"images": 1})
        return folder

    def clean(self, address: str | None = None) -> None:
        remove_leftovers(self.experiment, self.log, self.records, address)

    def kept(self, trial: str = "0000") -> list[float]:
        return [one.kimg for one in Records(self.log.events).trials[trial].checkpoints]


@pytest.fixture
def kill(tmp_path: Path) -> Iterator[Callable[..., Killed]]:
    with ExitStack() as logs:

        def make(*events: Event) -> Killed:
            killed = Killed(tmp_path, *events)
            logs.enter_context(closing(killed.log))
            return killed

        yield make


def test_a_whole_checkpoint_of_the_last_report_is_logged_and_kept(kill: Callable[..., Killed]) -> None:
    killed = kill(asked("0000"), reported("0000", 24.0), reported("0000", 27.0))
    last = killed.save("checkpoint_000027000")
    killed.clean()
    assert last.is_dir()
    assert killed.kept() == [27.0]
    killed.clean()
    assert killed.kept() == [27.0]


@pytest.mark.parametrize("name", ["checkpoint_000024000", "checkpoint_000030000", "checkpoint_27"])
def test_an_unlogged_checkpoint_of_another_image_count_is_removed(kill: Callable[..., Killed], name: str) -> None:
    killed = kill(asked("0000"), reported("0000", 24.0), reported("0000", 27.0))
    other = killed.save(name)
    killed.clean()
    assert not other.exists()
    assert killed.kept() == []


def test_a_damaged_checkpoint_of_the_last_report_is_removed(kill: Callable[..., Killed]) -> None:
    killed = kill(asked("0000"), reported("0000", 27.0))
    (killed.save("checkpoint_000027000") / "state.json").write_text("{}")
    killed.clean()
    assert killed.kept() == []


def test_a_checkpoint_at_an_address_is_logged_too(kill: Callable[..., Killed], tmp_path: Path) -> None:
    killed = kill(asked("0000"), reported("0000", 27.0))
    complete = killed.save("checkpoint_000027000")
    (remote := tmp_path / "bucket" / killed.experiment.folder.name / "trials" / "0000").mkdir(parents=True)
    complete.rename(remote / complete.name)
    killed.clean((tmp_path / "bucket").as_uri())
    assert killed.kept() == [27.0]
    assert (remote / complete.name).is_dir()


def test_logged_checkpoints_and_those_of_ended_trials_stay(kill: Callable[..., Killed]) -> None:
    path = "trials/0000/checkpoint_000001000"
    killed = kill(
        asked("0000"),
        changed(reported("0000", 1.0), checkpoint=path),
        reported("0000", 2.0),
        asked("0001"),
        reported("0001", 1.0, "stop"),
        ended("0001", "stopped"),
    )
    logged, of_ended = killed.save("checkpoint_000001000"), killed.save("checkpoint_000001000", "0001")
    killed.clean()
    assert logged.is_dir()
    assert of_ended.is_dir()
    assert killed.kept() == [1.0]


def test_requests_the_park_file_and_half_written_files_are_removed(kill: Callable[..., Killed]) -> None:
    killed = kill(asked("0000"))
    folder = killed.experiment.folder
    killed.experiment.requests.mkdir()
    (folder / PARK_FILE).touch()
    (folder / ".unfinished-1").write_text("half")
    (killed.experiment.trial("0000") / ".unfinished-2").mkdir(parents=True)
    killed.clean()
    assert {path.name for path in folder.iterdir()} == {"events.jsonl", "trials"}
    assert not list(killed.experiment.trial("0000").iterdir())


def test_trials_without_a_checkpoint_start_over(kill: Callable[..., Killed]) -> None:
    saved = {trial: f"trials/{trial}/checkpoint_000001000" for trial in ("0000", "0001", "0002")}
    killed = kill(
        *(event for trial in saved for event in (asked(trial), changed(reported(trial, 1.0), checkpoint=saved[trial]))),
        reported("0002", 2.0, "stop"),
        asked("0003"),
    )
    killed.save("checkpoint_000001000", "0000")
    assert restarting_trials(killed.experiment, killed.records, None) == ["0001"]
