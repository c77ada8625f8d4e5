"""When to stop: the budget, a person's wish, a signal. The log says what was spent, so a resumed sweep knows it too."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ray.tune import Stopper

from tune_app.config.models import BudgetConfig
from tune_app.experiment import Experiment
from tune_app.results import Records, cost

GRACE_SECONDS = 20.0
"""How long an interrupted sweep waits for its trials to park before it leaves them."""


class Limits(Stopper):
    """Asked by Tune after every step whether to end, and by the search whether to start another trial."""

    hold = False

    def __init__(
        self, budget: BudgetConfig, experiment: Experiment, records: Records, *, cpu: float, gpu: float, hours: float
    ) -> None:
        self._budget, self._experiment, self._records = budget, experiment, records
        self._cpu, self._gpu = cpu, gpu
        self._hours_before = hours
        self._began = time.monotonic()
        self._interrupted_at: float | None = None
        self.parked: set[str] = set()
        self._stopped: dict[str, str] = {}

    @property
    def hours(self) -> float:
        """Hours on the wall, those of earlier sessions included."""
        return self._hours_before + (time.monotonic() - self._began) / 3600

    @property
    def interrupted(self) -> bool:
        return self._interrupted_at is not None

    @property
    def spent(self) -> bool:
        """Whether a budget is used up: no trial starts any more, running ones end at their next rung."""
        if self._budget.hours is None and self._budget.gpu_hours is None:
            return False
        used = cost(self._records.trials.values(), hours=self.hours, cpu=self._cpu, gpu=self._gpu)
        return any(
            limit is not None and used[name] >= limit
            for name, limit in (("hours", self._budget.hours), ("gpu_hours", self._budget.gpu_hours))
        )

    def stop(self, trial: str, reason: str) -> None:
        """Have `trial` stop at this report, for `reason`."""
        self._stopped[trial] = reason

    def reason(self, trial: str) -> str | None:
        return self._stopped.get(trial)

    def __call__(self, trial_id: str, result: dict[str, object]) -> bool:
        return False

    def stop_all(self) -> bool:
        if self._interrupted_at is None:
            return False
        running = {record.id for record in self._records.trials.values() if record.state == "running"}
        return running <= self.parked or time.monotonic() - self._interrupted_at > GRACE_SECONDS

    @contextmanager
    def signals(self) -> Iterator[None]:
        """First SIGINT or SIGTERM: trials park at their next report and the sweep leaves; second: at once."""

        def interrupt(*_: object) -> None:
            if self._interrupted_at is not None:
                os._exit(130)
            self._interrupted_at = time.monotonic()
            self._experiment.stop_file.touch()

        before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def __getstate__(self) -> dict[str, object]:
        return {}
