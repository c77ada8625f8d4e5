"""Lines on stderr while a command in a pipe prints nothing itself."""

from __future__ import annotations

import io
import time

import pytest

from trainables.progress import report
from tune_app.cli import heartbeat as module
from tune_app.cli.heartbeat import heartbeat
from tune_app.cli.output import PatientStream


def next_line(capture: pytest.CaptureFixture[str]) -> str:
    """Return the newest line on stderr once there is a new one."""
    while not (said := capture.readouterr().err):
        time.sleep(0.01)
    return said.splitlines()[-1]


def test_a_silent_step_says_what_it_is_doing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(module, "SILENT_SECONDS", 0.1)
    with heartbeat("reading the trials"):
        assert next_line(capsys).endswith("] reading the trials")
        report("sampling images: 128 of \x1b[2J 2,000")
        next_line(capsys)  # it may have been written before the report
        assert next_line(capsys).endswith("] sampling images: 128 of \\x1b[2J 2,000")
    capsys.readouterr()
    time.sleep(0.3)
    assert capsys.readouterr().err == ""


def test_a_command_that_prints_is_not_interrupted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(module, "START_SECONDS", 0.0)
    out = PatientStream(io.StringIO())
    with heartbeat():
        for _ in range(50):
            out.write("a line\n")
            time.sleep(0.05)
    assert capsys.readouterr().err == ""


def test_the_wait_doubles_while_nothing_new_can_be_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(module, "SILENT_SECONDS", 0.05)
    with heartbeat("training") as beat:
        while beat._wait < 0.4:
            time.sleep(0.01)
        assert len(capsys.readouterr().err.splitlines()) == 3
        beat.set_doing("training")
        assert beat._wait >= 0.4
        beat.set_doing("sampling")
        assert beat._wait == 0.05


def test_the_first_silence_of_a_step_does_not_last_two_seconds() -> None:
    assert module.SILENT_SECONDS + 2 * module.POLL_SECONDS < 2
