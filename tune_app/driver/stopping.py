"""Reasons to stop: a spent budget, a person's requests, a signal, a full disk."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from trainables import storage
from tune_app.cluster.health import dead_process
from tune_app.config.schema import BudgetConfig
from tune_app.errors import StorageError
from tune_app.experiment.folder import Experiment
from tune_app.experiment.queue import waiting_points
from tune_app.experiment.records import Records, TrialRecord
from tune_app.experiment.requests import take_requests

GRACE_SECONDS = 12.0
"""Seconds that an interrupted sweep waits for its trials to write a checkpoint and pause."""
POLL_SECONDS = 0.5
OVERRUN_SECONDS, OVERRUN_SHARE = 60.0, 0.05
"""Time that trials may run on after a limit is reached: these seconds or this share of `budget.hours`, if longer."""
DYING_SECONDS = 0.3
"""Seconds by which Ray's processes may outlive a worker that died because of them."""
INTERRUPTING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class LeaveTune(BaseException):
    """Leaves Tune without its clean-up, which waits for workers and for Ray's processes. Tune does not catch this.

    The workers end with the session. The argument names the process of Ray that died, if one died.
    """


class Budget:
    """Limits on hours, GPU hours and CPU hours. The log keeps what was spent, so a resumed sweep continues counting."""

    def __init__(self, limits: BudgetConfig, records: Records, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = {name: limit for name, limit in limits.model_dump().items() if limit is not None}
        self._records, self._clock = records, clock
        self._hours_before, self._began = records.hours, clock()
        self._spent_at: float | None = None

    @property
    def hours(self) -> float:
        """Hours on the clock, including earlier sessions."""
        return self._hours_before + (self._clock() - self._began) / 3600

    @property
    def spent(self) -> bool:
        """True if a limit is reached. Then no trial starts, and running ones stop at their next rung."""
        if not self._limits or self._spent_at is not None:
            return self._spent_at is not None
        cost = {**self._records.cost(), "hours": self.hours}
        if any(cost[name] >= limit for name, limit in self._limits.items()):
            self._spent_at = self._clock()
        return self._spent_at is not None

    @property
    def overrun(self) -> bool:
        """True if trials may run on no longer after a limit was reached. Then they park, and the sweep ends."""
        allowed = max(OVERRUN_SECONDS, OVERRUN_SHARE * 3600 * self._limits.get("hours", 0.0))
        return self.spent and self._clock() - (self._spent_at or 0.0) > allowed


class Requests:
    """Requests that a person made with `tune_app stop`, with `tune_app enqueue` or in W&B."""

    def __init__(self, experiment: Experiment, records: Records) -> None:
        self._experiment, self._records = experiment, records
        self._polled = time.monotonic()
        self._stopped: set[str] = set()
        self.end_sweep = False
        """True: all trials stop at their next report."""
        self.no_more_trials = False
        """True: running trials continue, and no new trial starts."""
        self.hold = False
        """True: no trial starts until this is False again."""
        self.points = waiting_points(experiment, records)
        """Points that a person added and that no trial has taken yet, the oldest first."""

    def poll(self) -> None:
        """Read new requests, at most every POLL_SECONDS. Raise OSError if the folder cannot be read."""
        if time.monotonic() - self._polled < POLL_SECONDS:
            return
        self._polled = time.monotonic()
        for request in take_requests(self._experiment):
            match request:
                case "all":
                    self.end_sweep = True
                case "rest":
                    self.no_more_trials = True
                case "hold" | "release":
                    self.hold = request == "hold"
                case trial if trial in self._records.unfinished:
                    self._stopped.add(trial)
        self.points = waiting_points(self._experiment, self._records)

    def stops(self, record: TrialRecord) -> bool:
        """Return True if a person asked this trial to stop."""
        return self.end_sweep or record.id in self._stopped

    @property
    def ends(self) -> bool:
        """True if a person asked for the end of the sweep, now or when the running trials have ended."""
        return self.end_sweep or self.no_more_trials


class Interruption:
    """A signal or a broken disk: running trials park, then the sweep ends and can be resumed."""

    def __init__(self, experiment: Experiment, records: Records, park_file: str) -> None:
        self._experiment, self._records, self._park_file = experiment, records, park_file
        self._park_requested = False
        self._signalled_at: float | None = None
        self.parked: set[str] = set()
        """Trials that have written a checkpoint and paused."""
        self.disk_error: StorageError | None = None
        """The error after which the experiment can no longer be written."""
        self.fault: Exception | None = None
        """A bug of ours that ended the sweep."""

    def request(self) -> None:
        """Have running trials park, and end the sweep."""
        self._signalled_at = self._signalled_at or time.monotonic()

    @property
    def requested(self) -> bool:
        """True if the sweep must end as soon as it can."""
        return self._signalled_at is not None or self.broken

    @property
    def broken(self) -> bool:
        """True if the sweep cannot go on, because the disk failed or because of a bug."""
        return self.disk_error is not None or self.fault is not None

    @property
    def complete(self) -> bool:
        """True if the sweep can end now: all trials have parked, the wait for them is over, or it cannot go on."""
        if self.broken:
            return True
        if self._signalled_at is None:
            return False
        if not self._park_requested:  # here and not in the signal handler, because the storage may be remote and slow
            self._park_requested = True
            with self.disk_writes():
                storage.touch(self._park_file)
        running = {record.id for record in self._records.unfinished.values() if record.state == "running"}
        return running <= self.parked or time.monotonic() - self._signalled_at > GRACE_SECONDS

    @contextmanager
    def disk_writes(self) -> Iterator[None]:
        """Guard writes to the experiment: if one fails, the sweep ends and no trial is blamed for it."""
        try:
            yield
        except StorageError as error:
            self.disk_error = self.disk_error or error
        except OSError as error:
            self.disk_error = self.disk_error or StorageError.of(error, self._experiment.folder)

    @contextmanager
    def faults(self) -> Iterator[None]:
        """Guard a callback of Tune: a bug of ours ends the sweep. Tune would count it as the trial's failure."""
        try:
            with self.disk_writes():
                yield
        except Exception as error:
            self.fault = self.fault or error

    @contextmanager
    def signals(self, leave: Callable[[], None]) -> Iterator[None]:
        """Handle SIGINT, SIGTERM and SIGHUP: after the first, trials park; at the second, call `leave` and exit.

        SIGHUP stays ignored if it was, as under nohup. Only the main thread can handle signals; elsewhere they are left
        to the caller.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def interrupt(*_: object) -> None:
            if self._signalled_at is not None:
                leave()
                os._exit(130)
            self._signalled_at = time.monotonic()

        numbers = [number for number in INTERRUPTING if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, interrupt) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@dataclass(frozen=True)
class Stopping:
    """Everything that can stop a sweep."""

    budget: Budget
    requests: Requests
    interruption: Interruption

    @classmethod
    def of(cls, limits: BudgetConfig, experiment: Experiment, records: Records, park_file: str) -> Stopping:
        """Return the three reasons to stop of one session."""
        return cls(Budget(limits, records), Requests(experiment, records), Interruption(experiment, records, park_file))

    def poll(self) -> None:
        """Read new requests. Raise LeaveTune if a process of Ray has died."""
        if process := dead_process():
            raise LeaveTune(process)
        if self.budget.overrun:
            self.interruption.request()
        with self.interruption.disk_writes():
            self.requests.poll()

    def leave_if_dying(self) -> None:
        """Raise LeaveTune if a worker was lost because Ray is ending, as after a signal to the process group."""
        if self.interruption.requested:
            raise LeaveTune
        time.sleep(DYING_SECONDS)
        self.poll()

    @property
    def no_more_trials(self) -> bool:
        """True if no trial may start any more, neither a new one nor one of an earlier session."""
        return self.interruption.requested or self.budget.spent
