"""The log writes an event to disk before listeners get it, and reads whole lines only."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.events import asked, at, ended
from tune_app.errors import InputError
from tune_app.experiment.events import Event
from tune_app.experiment.log import EventLog, Tail, read

Opened = Callable[..., EventLog]
ASKED, ENDED = asked("0000", x=1), ended("0000", "stopped", "asha", kimg=1.0)


@pytest.fixture
def opened(path: Path) -> Iterator[Opened]:
    logs: list[EventLog] = []

    def open_log(**options: Any) -> EventLog:
        logs.append(EventLog(path, **options))
        return logs[-1]

    yield open_log
    for log in logs:
        log.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / 'an experiment\'s "folder"'
    folder.mkdir()
    return folder / "events.jsonl"


def kinds(path: Path) -> list[str]:
    return [event.event for event in read(path)]


def test_an_event_is_on_disk_before_a_listener_gets_it(path: Path, opened: Opened) -> None:
    log = opened()
    heard: list[tuple[Event, Event]] = []
    log.listen(lambda event: heard.append((event, read(path)[-1])))
    log.append(ASKED)
    assert heard == [(ASKED, ASKED)]


def test_a_log_that_cannot_be_written_is_refused(path: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    def immutable(path: Path, *_: object, **__: object) -> object:
        raise PermissionError(1, "Operation not permitted", str(path))

    monkeypatch.setattr(Path, "open", immutable)
    with pytest.raises(InputError, match=r"the event log cannot be written \(Operation not permitted\)"):
        opened()


def test_the_clock_gives_the_time_of_an_event(opened: Opened) -> None:
    assert opened(clock=lambda: ASKED.time).now() == ASKED.time
    assert opened().now().endswith("+00:00")


def test_a_torn_last_line_is_skipped_and_cut_off(path: Path, opened: Opened) -> None:
    log = opened()
    log.append(ASKED)
    log.close()
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"event": "repor')
    assert kinds(path) == ["asked"]
    opened().append(ENDED)
    assert kinds(path) == ["asked", "ended"]
    assert path.read_bytes().startswith(whole)


def test_damage_in_the_middle_is_reported_with_its_line_and_nothing_is_overwritten(path: Path, opened: Opened) -> None:
    opened().append(ASKED)
    before = path.read_bytes() + b'{"event"\n' + path.read_bytes()
    path.write_bytes(before)
    with pytest.raises(InputError, match=r"events\.jsonl:2: .* damaged"):
        opened()
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (asked("0002"), "trial 0002 was asked for, but trial 0001 is next"),
        (ended("0001"), "trial 0001 has already ended or was never asked for"),
        (at(0, "rechecked", trial="0000", kimg=1.0, seconds=1.0, sampling={}, draws=[], same=[], pictures={},
            features=""), "trial 0000 has not ended"),
    ],
)  # fmt: skip
def test_an_event_that_cannot_follow_is_damage(second: Event, words: str, path: Path) -> None:
    path.write_text("".join(json.dumps(event.as_json()) + "\n" for event in (ASKED, second)))
    with pytest.raises(InputError, match=words):
        read(path)


def test_a_late_subscriber_gets_every_event_once(opened: Opened) -> None:
    log, heard = opened(), []
    log.append(ASKED)
    log.subscribe(lambda event: heard.append(event.event))
    log.append(ENDED)
    assert heard == ["asked", "ended"]


def test_the_tail_returns_only_whole_new_events(path: Path, opened: Opened) -> None:
    log, tail = opened(), Tail(path)
    log.append(ASKED)
    assert tail.new() == [ASKED]
    with path.open("ab") as file:
        file.write(b'{"event": "en')
    assert tail.new() == []
