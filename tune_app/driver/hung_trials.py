"""End workers that no longer report."""

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from math import inf

import ray
from ray.tune import Callback

from tune_app.driver.session import Session
from tune_app.driver.tune_trial import TuneTrial
from tune_app.formatting import clock

LEAST_SECONDS, LONGEST_REPORTS = 600.0, 20
"""By default a trial may be silent for LONGEST_REPORTS times its longest report, and at least for LEAST_SECONDS."""
POLL_SECONDS = 1.0


class HungTrials(Callback):
    """Tune's callback: ends the worker of a trial that is silent for too long. Tune then counts the worker as lost."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._heard: dict[str, float] = {}
        self._processes: dict[str, int] = {}
        self._polled = time.monotonic()

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **_: object) -> None:
        """Start counting the seconds of silence."""
        self._heard[trial.trial_id] = time.monotonic()

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, int], **_: object
    ) -> None:
        """Start counting again from 0, and remember the worker's process."""
        self._heard[trial.trial_id] = time.monotonic()
        self._processes[trial.trial_id] = result["pid"]

    def on_step_end(self, iteration: int, trials: Iterable[TuneTrial], **_: object) -> None:
        """End the workers of silent trials."""
        if time.monotonic() - self._polled < POLL_SECONDS:
            return
        self._polled = now = time.monotonic()
        for trial in trials:
            silence = now - self._heard.get(trial.trial_id, now)
            if trial.status == TuneTrial.RUNNING and silence > self._limit(trial.trial_id):
                self._heard[trial.trial_id] = now
                trial.lost_because = f"no report for {clock(silence)}, so its worker was ended"
                self._end_worker(trial)

    def _limit(self, trial: str) -> float:
        """Return the seconds that a trial may be silent. Before the first report of the sweep there is no limit."""
        if limit := self._session.config.failures.trial_timeout:
            return limit
        records = self._session.records.trials
        reports = records[trial].reports if trial in records else []
        reports = reports or [report for record in records.values() for report in record.reports]
        return max(LEAST_SECONDS, LONGEST_REPORTS * max(one.seconds for one in reports)) if reports else inf

    def _end_worker(self, trial: TuneTrial) -> None:
        ray.kill(trial.temporary_state.ray_actor)
        if self._session.cluster.local and trial.trial_id in self._processes:
            with suppress(ProcessLookupError):  # Ray only asks the process to end, and a suspended process does not
                os.kill(self._processes[trial.trial_id], signal.SIGKILL)

    def __getstate__(self) -> dict[str, object]:
        return {}
