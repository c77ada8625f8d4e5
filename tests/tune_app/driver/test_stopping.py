"""The reasons to stop: a spent budget, requests, signals, a broken disk and the death of Ray."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.events import asked, changed, reported, started
from tests.tune_app.driver.sessions import LocalSession
from tune_app.config.load import load
from tune_app.config.schema import BudgetConfig
from tune_app.driver.stopping import Budget, LeaveTune, Stopping
from tune_app.errors import StorageError
from tune_app.experiment.records import Records

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray's own


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalSession]:
    local = LocalSession(load("branin_space.yaml"), tmp_path)
    yield local
    local.log.close()


@pytest.fixture
def stopping(local: LocalSession) -> Stopping:
    return local.stopping


def test_a_budget_of_hours_is_spent_at_its_limit_and_overrun_a_while_later() -> None:
    clock = Clock()
    budget = Budget(BudgetConfig(hours=2.0), Records(), clock)
    clock.now = 7199
    assert (budget.spent, budget.overrun) == (False, False)
    clock.now = 7200
    assert (budget.spent, budget.overrun) == (True, False)
    clock.now = 7200 + 0.05 * 7200
    assert not budget.overrun
    clock.now += 1
    assert budget.overrun


def test_a_short_budget_is_overrun_after_a_minute() -> None:
    clock = Clock()
    budget = Budget(BudgetConfig(hours=0.01), Records(), clock)
    clock.now = 36
    assert budget.spent
    clock.now = 36 + 60
    assert not budget.overrun
    clock.now = 36 + 61
    assert budget.overrun


def test_hours_of_earlier_sessions_count() -> None:
    clock, records = Clock(), Records([started(0), asked("0000", when=3600)])
    budget = Budget(BudgetConfig(hours=1.5), records, clock)
    assert budget.hours == 1.0
    clock.now = 1800
    assert budget.spent


def test_without_a_limit_a_budget_is_never_spent() -> None:
    clock = Clock()
    budget = Budget(BudgetConfig(), Records(), clock)
    clock.now = 1e9
    assert (budget.spent, budget.overrun) == (False, False)


def test_gpu_hours_count_the_share_of_the_gpu() -> None:
    config = {"resources": {"cpu": 1.0, "gpu": 0.5}}
    slow = changed(reported("0000", 1.0), seconds=7200.0)
    for limit, spent in ((1.0, True), (1.01, False)):
        records = Records([changed(started(), config=config), asked("0000"), slow])
        assert Budget(BudgetConfig(gpu_hours=limit), records, Clock()).spent is spent


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_asks_trials_to_park_and_the_sweep_ends_when_they_have(
    stopping: Stopping, local: LocalSession, number: signal.Signals
) -> None:
    local.log.append(asked("0000"))
    signal.signal(number, signal.default_int_handler)  # nohup ignores SIGHUP, and so would the sweep
    before = signal.getsignal(number)
    with stopping.interruption.signals(lambda: None):
        os.kill(os.getpid(), number)
        assert stopping.interruption.requested
        assert not stopping.interruption.complete
        assert (local.session.experiment.folder.parent / "park").exists()
        stopping.interruption.parked.add("0000")
        assert stopping.interruption.complete
    assert signal.getsignal(number) is before
    assert stopping.no_more_trials


def test_an_ignored_hangup_stays_ignored(stopping: Stopping) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopping.interruption.signals(lambda: None):
            os.kill(os.getpid(), signal.SIGHUP)
        assert not stopping.interruption.requested
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_thread_leaves_signals_to_its_caller(stopping: Stopping) -> None:
    before, seen = signal.getsignal(signal.SIGTERM), []

    def run() -> None:
        with stopping.interruption.signals(lambda: None):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]


def test_a_failed_write_ends_the_sweep_and_a_bug_does_too(stopping: Stopping) -> None:
    interruption = stopping.interruption
    with interruption.disk_writes():
        raise OSError(28, "No space left on device", "events.jsonl")
    assert isinstance(interruption.disk_error, StorageError)
    assert "the disk is full" in interruption.disk_error.message
    with interruption.faults():
        raise LookupError("a bug")
    assert isinstance(interruption.fault, LookupError)
    assert interruption.complete


def test_other_errors_are_not_taken_for_failed_writes(stopping: Stopping) -> None:
    with pytest.raises(LookupError), stopping.interruption.disk_writes():
        raise LookupError("a bug")


def test_a_dead_process_of_ray_leaves_tune(stopping: Stopping, monkeypatch: pytest.MonkeyPatch) -> None:
    stopping.poll()
    stopping.leave_if_dying()
    monkeypatch.setattr("tune_app.driver.stopping.dead_process", lambda: "Ray's local node")
    for look in (stopping.poll, stopping.leave_if_dying):
        with pytest.raises(LeaveTune, match="Ray's local node"):
            look()


def test_a_worker_lost_after_a_signal_leaves_tune(stopping: Stopping) -> None:
    stopping.interruption.request()
    with pytest.raises(LeaveTune):
        stopping.leave_if_dying()


def test_an_overrun_budget_ends_the_sweep(local: LocalSession) -> None:
    clock = Clock()
    budget = Budget(BudgetConfig(hours=0.01), local.records, clock)
    stopping = Stopping(budget, local.stopping.requests, local.stopping.interruption)
    clock.now = 36
    stopping.poll()
    assert stopping.no_more_trials
    assert not stopping.interruption.requested
    clock.now = 100
    stopping.poll()
    assert stopping.interruption.requested
