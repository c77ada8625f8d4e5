"""When to stop: the budget, a person's wish, a signal, a full disk. What was spent is the log's, so it outlives us."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ray.tune import Stopper

from trainables import storage
from tune_app.config.schema import BudgetConfig
from tune_app.errors import StorageError
from tune_app.experiment.folder import Experiment
from tune_app.experiment.records import Records, TrialRecord

GRACE_SECONDS = 12.0
"""How long an interrupted sweep waits for its trials to park; Tune then takes up to 10 to end their workers."""
LOOK_SECONDS = 0.5


class Limits(Stopper):
    """Asked by Tune after every step whether to end, and by the search whether to start another trial."""

    def __init__(self, budget: BudgetConfig, experiment: Experiment, records: Records, park_file: str) -> None:
        self._park_file, self._asked_to_park = park_file, False
        self._budget = {name: limit for name, limit in budget.model_dump().items() if limit is not None}
        self._experiment, self._records = experiment, records
        self._hours_before = records.hours
        self._began = self._looked = time.monotonic()
        self._interrupted_at: float | None = None
        self._stopped: dict[str, str] = {}
        self.parked: set[str] = set()
        self.broken: StorageError | None = None
        """Why nothing can be written any more."""
        self.closed = self.full = self.held = False
        """Whether a person wants the whole sweep to end, no more trials, or none for the time being."""

    @property
    def hours(self) -> float:
        """Hours on the wall, those of earlier sessions included."""
        return self._hours_before + (time.monotonic() - self._began) / 3600

    @property
    def interrupted(self) -> bool:
        return self._interrupted_at is not None or self.broken is not None

    @property
    def spent(self) -> bool:
        """Whether a budget is used up: no trial starts any more, running ones end at their next rung."""
        used = {**self._records.cost(), "hours": self.hours} if self._budget else {}
        return any(used[name] >= limit for name, limit in self._budget.items())

    def stop(self, trial: str, reason: str) -> None:
        """Have `trial` stop at its next report, for `reason`; the first reason counts."""
        self._stopped.setdefault(trial, reason)

    def reason(self, record: TrialRecord) -> str | None:
        """Why a trial is to stop at its next report, or None."""
        return "person" if self.closed else self._stopped.get(record.id)

    def __call__(self, trial_id: str, result: dict[str, object]) -> bool:
        return False

    def stop_all(self) -> bool:
        self.look()
        if self.broken:
            return True
        if self._interrupted_at is None:
            return False
        if not self._asked_to_park:  # here and not in the signal's handler, as the storage may be far away
            self._asked_to_park = True
            with self.storage():
                storage.touch(self._park_file)
        running = {record.id for record in self._records.unfinished.values() if record.state == "running"}
        return running <= self.parked or time.monotonic() - self._interrupted_at > GRACE_SECONDS

    @contextmanager
    def storage(self) -> Iterator[None]:
        """Around whatever writes: where the disk takes no more the sweep breaks off, and no trial is blamed for it."""
        try:
            yield
        except StorageError as error:
            self.broken = self.broken or error
        except OSError as error:
            self.broken = self.broken or StorageError.of(error, self._experiment.folder)

    @contextmanager
    def signals(self) -> Iterator[None]:
        """First SIGINT or SIGTERM: trials park at their next report and the sweep leaves; second: at once."""

        def interrupt(*_: object) -> None:
            if self._interrupted_at is not None:
                os._exit(130)
            self._interrupted_at = time.monotonic()

        before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def look(self) -> None:
        """Take up what `tune_app stop` or W&B has asked for."""
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        with self.storage():
            for wish in self._experiment.take_requests():
                if wish == "all":
                    self.closed = True
                elif wish == "rest":
                    self.full = True
                elif wish in ("hold", "release"):
                    self.held = wish == "hold"
                elif wish in self._records.unfinished:
                    self.stop(wish, "person")

    def __getstate__(self) -> dict[str, object]:
        return {}
