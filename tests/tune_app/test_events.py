"""The log: on disk before anybody hears, whole lines only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tune_app.errors import InputError
from tune_app.events import EventLog, read


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / 'an experiment\'s "folder"'
    folder.mkdir()
    return folder / "events.jsonl"


def test_an_event_is_on_disk_before_a_listener_hears_of_it(path: Path) -> None:
    log, heard = EventLog(path, clock=lambda: "now"), []
    log.listen(lambda event: heard.append((event, read(path)[-1])))
    log.append("asked", trial="0000", params={"x": 1})
    assert heard == [({"event": "asked", "time": "now", "trial": "0000", "params": {"x": 1}},) * 2]


def test_a_torn_last_line_is_skipped_and_cut_off(path: Path) -> None:
    log = EventLog(path)
    log.append("asked", trial="0000")
    log.close()
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"event": "repor')
    assert [event["event"] for event in read(path)] == ["asked"]
    log = EventLog(path)
    log.append("ended", trial="0000")
    assert [event["event"] for event in read(path)] == ["asked", "ended"]
    assert path.read_bytes().startswith(whole)


def test_damage_in_the_middle_is_reported_with_its_line_and_nothing_is_overwritten(path: Path) -> None:
    path.write_bytes(b'{"event": "asked"}\n{"event"\n{"event": "ended"}\n')
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"events\.jsonl:2: .* damaged"):
        EventLog(path)
    assert path.read_bytes() == before


def test_a_listener_that_joins_late_hears_everything_once(path: Path) -> None:
    log, heard = EventLog(path), []
    log.append("asked", trial="0000")
    log.subscribe(lambda event: heard.append(event["event"]))
    log.append("ended", trial="0000")
    assert heard == ["asked", "ended"]


def test_numbers_that_json_cannot_hold_become_null(path: Path) -> None:
    EventLog(path).append("reported", metrics={"kid": float("inf"), "loss": float("nan")}, curve=[{"kid": 1.5}])
    event = json.loads(path.read_text())
    assert event["metrics"] == {"kid": None, "loss": None}
    assert event["curve"] == [{"kid": 1.5}]
