"""The log: on disk before anybody hears, whole lines only."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tune_app.errors import InputError
from tune_app.experiment.log import EventLog, read

Opened = Callable[..., EventLog]
ASKED: dict[str, Any] = {"trial": "0000", "params": {"x": 1}, "source": "sampler"}
ENDED: dict[str, Any] = {"trial": "0000", "state": "stopped", "reason": "asha", "kimg": 1.0, "metrics": {}}
TIME = "2026-11-24T13:00:00.000+00:00"


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


def test_an_event_is_on_disk_before_a_listener_hears_of_it(path: Path, opened: Opened) -> None:
    log, heard = opened(clock=lambda: TIME), []
    log.listen(lambda event: heard.append((event, read(path)[-1])))
    log.append("asked", **ASKED)
    assert heard == [({"event": "asked", "time": TIME, **ASKED},) * 2]


def test_a_torn_last_line_is_skipped_and_cut_off(path: Path, opened: Opened) -> None:
    log = opened()
    log.append("asked", **ASKED)
    log.close()
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"event": "repor')
    assert [event["event"] for event in read(path)] == ["asked"]
    log = opened()
    log.append("ended", **ENDED)
    assert [event["event"] for event in read(path)] == ["asked", "ended"]
    assert path.read_bytes().startswith(whole)


def test_damage_in_the_middle_is_reported_with_its_line_and_nothing_is_overwritten(
    path: Path, opened: Callable[..., EventLog]
) -> None:
    log = opened()
    log.append("asked", **ASKED)
    before = path.read_bytes() + b'{"event"\n' + path.read_bytes()
    path.write_bytes(before)
    with pytest.raises(InputError, match=r"events\.jsonl:2: .* damaged"):
        opened()
    assert path.read_bytes() == before


def test_a_listener_that_joins_late_hears_everything_once(path: Path, opened: Opened) -> None:
    log, heard = opened(), []
    log.append("asked", trial="0000")
    log.subscribe(lambda event: heard.append(event["event"]))
    log.append("ended", trial="0000")
    assert heard == ["asked", "ended"]


def test_numbers_that_json_cannot_hold_become_null(path: Path, opened: Opened) -> None:
    opened().append("reported", metrics={"kid": float("inf"), "loss": float("nan")}, curve=[{"kid": 1.5}])
    event = json.loads(path.read_text())
    assert event["metrics"] == {"kid": None, "loss": None}
    assert event["curve"] == [{"kid": 1.5}]
