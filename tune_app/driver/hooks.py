"""Where Tune and the sweep meet: every result, checkpoint and error goes through here, into the log first."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from math import isfinite
from typing import Any

from ray.tune import Callback
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from trainables.trial import Report
from tune_app.driver.asha import RungBook
from tune_app.driver.limits import Limits
from tune_app.driver.ray_trial import TrackedTrial
from tune_app.events import Event, EventLog
from tune_app.experiment import Experiment, write
from tune_app.results import Records, TrialRecord

KEPT_CHECKPOINTS = 2


def replay(book: RungBook, records: Records, events: list[Event], metric: str) -> None:
    """Fill the book with the rungs of the log, in its order."""
    for event in events:
        if event["event"] == "reported" and event["rung"] and event["metrics"].get(metric) is not None:
            protected = records.trials[event["trial"]].source == "baseline"
            book.report(event["trial"], event["kimg"], event["metrics"][metric], protected=protected)


class Rungs(FIFOScheduler):
    """Tune's scheduler: writes each report with the decision that the book takes on it."""

    def __init__(
        self,
        book: RungBook,
        metric: str,
        experiment: Experiment,
        log: EventLog,
        records: Records,
        limits: Limits,
        *,
        slots: int,
    ) -> None:
        super().__init__()
        self._book, self._metric = book, metric
        self._experiment, self._log, self._records, self._limits = experiment, log, records, limits
        self._slots, self._warm = slots, set[str]()

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        return True

    def on_trial_result(self, tune_controller: Any, trial: TrackedTrial, result: dict[str, Any]) -> str:
        if result.get("warm"):
            return self._warmed(trial.trial_id)
        record = self._records.trials[trial.trial_id]
        if result.get("parked"):
            self._limits.parked.add(record.id)
        if "failed" in result:
            return self._failed(record, result["failed"])
        report = result.get("report")
        if report is None or report.kimg <= record.kimg:
            return str(TrialScheduler.CONTINUE)  # parked, or computed a second time after a resume or a retry
        return self._reported(record, report)

    def on_trial_error(self, tune_controller: Any, trial: TrackedTrial) -> None:
        if trial.trial_id not in self._records.trials:
            return  # an actor that could not start: its first trial will say why
        kind, message, traceback = trial.failure or ("error", "unknown error", "")
        folder = self._experiment.trial(trial.trial_id)
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / "error.txt", traceback + "\n")
        self._log.append("failed", trial=trial.trial_id, kind=kind, message=message, retry=trial.should_recover())

    def _warmed(self, name: str) -> str:
        """Let the actors go to their first trials together: Tune gives up the start of one when another falls free."""
        self._warm.add(name)
        return str(TrialScheduler.STOP if len(self._warm) >= self._slots else TrialScheduler.CONTINUE)

    def _failed(self, record: TrialRecord, message: str) -> str:
        self._log.append("failed", trial=record.id, kind="non_finite", message=message, retry=False)
        return str(TrialScheduler.STOP)

    def _reported(self, record: TrialRecord, report: Report) -> str:
        kimg = report.kimg
        decision, trusted = "continue", None
        if report.rung:
            value = report.metrics.get(self._metric)
            if value is None or not isfinite(value):
                return self._failed(record, f"{self._metric} is {value} at {kimg:g} kimg")
            decision, trusted = self._book.report(record.id, kimg, value, protected=record.source == "baseline")
            if decision == "continue" and self._limits.spent:
                self._limits.stop(record.id, "budget")
        if decision == "continue" and self._limits.reason(record.id):
            decision = "stop"
        fields = {**vars(report), "decision": decision, "pictures": self._draw(record, kimg, report.pictures)}
        if trusted is not None:
            fields["trusted"] = trusted
        self._log.append("reported", trial=record.id, **fields)
        return str(TrialScheduler.STOP if decision == "stop" else TrialScheduler.CONTINUE)

    def _draw(self, record: TrialRecord, kimg: float, pictures: dict[str, bytes]) -> dict[str, str]:
        folder = self._experiment.trial(record.id)
        folder.mkdir(parents=True, exist_ok=True)
        paths = {}
        for name, png in pictures.items():
            path = folder / f"{name}-{kimg:g}.png"
            write(path, png)
            paths[name] = self._experiment.relative(path)
        return paths


class Watcher(Callback):
    """Tune's callback: logs checkpoints, keeps the last two and the best, and gives the console its pulse."""

    def __init__(
        self, metric: str, experiment: Experiment, log: EventLog, records: Records, pulse: Callable[[], None]
    ) -> None:
        self._metric, self._experiment, self._log, self._records, self._pulse = metric, experiment, log, records, pulse

    def on_checkpoint(self, iteration: int, trials: list[Any], trial: TrackedTrial, checkpoint: Any, **_: Any) -> None:
        record = self._records.trials[trial.trial_id]
        name = checkpoint.path.rstrip("/").rpartition("/")[2]
        path = self._experiment.relative(self._experiment.trial(record.id) / name)
        self._log.append("checkpointed", trial=record.id, kimg=record.kimg, path=path)
        self._rotate(record)

    def _rotate(self, record: TrialRecord) -> None:
        kept = {path for _, path in record.checkpoints[-KEPT_CHECKPOINTS:]}
        measured = {report.kimg: report.metrics[self._metric] for report in record.rungs}
        scored = [(measured[kimg], path) for kimg, path in record.checkpoints if kimg in measured]
        if scored:
            kept.add(min(scored)[1])
        for _, path in record.checkpoints:
            if path not in kept:
                shutil.rmtree(self._experiment.folder / path, ignore_errors=True)

    def on_step_end(self, iteration: int, trials: list[Any], **_: Any) -> None:
        self._pulse()

    def __getstate__(self) -> dict[str, Any]:
        return {}
