"""Workers that no longer report are ended."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.events import asked, changed, reported
from tests.tune_app.driver.sessions import LocalSession
from tune_app.config.load import load
from tune_app.driver import hung_trials
from tune_app.driver.hung_trials import HungTrials

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray's own


class Watch:
    """The callback on one running trial, with a clock of its own."""

    def __init__(self, local: LocalSession, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ended: list[tuple[object, ...]] = []
        self.now = 0.0
        monkeypatch.setattr(hung_trials, "time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr(hung_trials.ray, "kill", lambda actor: self.ended.append(("ray.kill", actor)))
        monkeypatch.setattr(hung_trials.os, "kill", lambda *process: self.ended.append(process))
        self.trial: Any = SimpleNamespace(
            trial_id="0000", status="RUNNING", lost_because="", temporary_state=SimpleNamespace(ray_actor="actor")
        )
        self.callback = HungTrials(local.session)
        self.callback.on_trial_start(0, [], self.trial)

    def after(self, seconds: float) -> list[tuple[object, ...]]:
        self.now += seconds
        self.callback.on_step_end(0, [self.trial])
        return self.ended

    def report(self) -> None:
        self.callback.on_trial_result(0, [], self.trial, {"pid": 4321})


@pytest.fixture
def local(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[LocalSession]:
    local = LocalSession(load("branin_space.yaml", set=getattr(request, "param", {})), tmp_path)
    local.log.append(asked("0000"))
    yield local
    local.log.close()


def test_before_the_first_report_there_is_no_limit(local: LocalSession, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not Watch(local, monkeypatch).after(1e6)


def test_twenty_times_the_longest_report_and_at_least_ten_minutes_are_allowed(
    local: LocalSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(local, monkeypatch)
    local.log.append(changed(reported("0000", 1.0), seconds=2.0))
    watch.report()
    assert not watch.after(600)
    assert watch.after(1.5) == [("ray.kill", "actor"), (4321, signal.SIGKILL)]
    assert watch.trial.lost_because == "no report for 10:02, so its worker was ended"
    local.log.append(changed(reported("0000", 2.0), seconds=100.0))
    watch.report()
    watch.ended.clear()
    assert not watch.after(2000)
    assert watch.after(2)


@pytest.mark.parametrize("local", [{"failures.trial_timeout": 5}], indirect=True)
def test_a_configured_limit_holds_from_the_start(local: LocalSession, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(local, monkeypatch)
    assert not watch.after(5)
    assert watch.after(1.5) == [("ray.kill", "actor")]
    watch.report()
    assert len(watch.after(4)) == 1


@pytest.mark.parametrize("local", [{"failures.trial_timeout": 5}], indirect=True)
def test_a_trial_that_does_not_run_is_left_alone(local: LocalSession, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(local, monkeypatch)
    watch.trial.status = "PENDING"
    assert not watch.after(100)
