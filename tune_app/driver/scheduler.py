"""Where Tune and the sweep meet: every result, checkpoint and error goes through here, into the log first."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any

from ray.tune import Callback
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from trainables import storage
from trainables.catalog import sign
from trainables.trial import Report
from tune_app.driver.asha import RungBook
from tune_app.driver.stopping import Limits
from tune_app.driver.tune_trial import TrackedTrial
from tune_app.experiment.folder import Experiment, write
from tune_app.experiment.log import Event, EventLog
from tune_app.experiment.records import Records, TrialRecord

KEPT_CHECKPOINTS = 2
MOST_TRIALS = 256


def replay(book: RungBook, events: list[Event], metric: str) -> None:
    """Fill the book, in which lower is better, with the rungs of the log in its order."""
    for event in events:
        if event["event"] == "reported" and event["rung"] and event["metrics"].get(metric) is not None:
            book.record(event["trial"], event["kimg"], sign(metric) * event["metrics"][metric])


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
        address: str | None,
    ) -> None:
        super().__init__()
        self._address = address
        self._book, self._metric = book, metric
        self._experiment, self._log, self._records, self._limits = experiment, log, records, limits
        self._slots, self._warm = slots, set[str]()

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        return True

    def on_trial_result(self, tune_controller: Any, trial: TrackedTrial, result: dict[str, Any]) -> str:
        if result.get("warm"):
            return self._warmed(trial.trial_id)
        record = self._records.trials[trial.trial_id]
        decision = str(TrialScheduler.CONTINUE)
        with self._limits.storage():
            if "failed" in result:
                decision = self._failed(record, result["failed"])
            elif "report" in result and result["report"].kimg > record.kimg:  # else computed again after a retry
                decision = self._reported(record, result["report"])
                self._checkpointed(record, result["checkpoint"])
                trial.further = record.further
        if result.get("parked"):
            self._limits.parked.add(record.id)
        return decision

    def on_trial_error(self, tune_controller: Any, trial: TrackedTrial) -> None:
        if trial.trial_id not in self._records.trials or trial.failure is None:
            return  # an actor that could not start: its first trial will say why
        if trial.failure.disk:
            self._limits.broken = trial.failure.disk
            return
        if trial.grown:
            trial.grow()
        with self._limits.storage():
            folder = self._experiment.trial(trial.trial_id)
            folder.mkdir(exist_ok=True)
            write(folder / "error.txt", trial.failure.traceback + "\n")
            fields = {"kind": trial.failure.kind, "message": trial.failure.message, "retry": trial.should_recover()}
            self._log.append("failed", trial=trial.trial_id, **fields, **({"gpu": trial.gpu} if trial.grown else {}))
            trial.config["checkpoints"] = self._experiment.checkpoints(
                self._records.trials[trial.trial_id], self._address
            )

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
            value *= sign(self._metric)
            decision, trusted = self._book.report(record.id, kimg, value, protected=record.source == "baseline")
            if decision == "continue" and self._limits.spent:
                self._limits.stop(record.id, "budget")
        reason = self._limits.reason(record) if decision == "continue" else None
        if reason:
            decision = "stop"
        fields = {
            **vars(report),
            "decision": decision,
            "pictures": drawn(self._experiment, record, f"{kimg:g}", report.pictures),
        }
        report.pictures.clear()  # Tune keeps the last result of every trial
        fields.update({name: value for name, value in (("trusted", trusted), ("reason", reason)) if value is not None})
        self._log.append("reported", trial=record.id, **fields)
        return str(TrialScheduler.STOP if decision == "stop" else TrialScheduler.CONTINUE)

    def _checkpointed(self, record: TrialRecord, name: str | None) -> None:
        """Log a checkpoint; keep the last two and the best."""
        if name is None:
            return
        path = self._experiment.relative(self._experiment.trial(record.id) / name)
        self._log.append("checkpointed", trial=record.id, kimg=record.kimg, path=path)
        kept = {path for _, path in record.checkpoints[-KEPT_CHECKPOINTS:]}
        measured = {report.kimg: sign(self._metric) * report.metrics[self._metric] for report in record.rungs}
        scored = [(measured[kimg], path) for kimg, path in record.checkpoints if kimg in measured]
        if scored:
            kept.add(min(scored)[1])
        for path in {path for _, path in record.checkpoints} - kept:
            storage.remove(self._experiment.place(path, self._address))


def drawn(experiment: Experiment, record: TrialRecord, stem: str, pictures: dict[str, bytes]) -> dict[str, str]:
    """Write pictures as trials/<id>/<name>-<stem>.png; their paths by name."""
    folder = experiment.trial(record.id)
    folder.mkdir(exist_ok=True)
    paths = {}
    for name, png in pictures.items():
        path = folder / f"{name}-{stem}.png"
        write(path, png)
        paths[name] = experiment.relative(path)
    return paths


class Pulse(Callback):
    """Tune's callback: gives the console its pulse, and lets go of trials that have ended."""

    def __init__(self, pulse: Callable[[], None]) -> None:
        self._pulse = pulse

    def on_step_end(self, iteration: int, trials: list[Any], **_: Any) -> None:
        self._pulse()
        if len(trials) > MOST_TRIALS:  # the controller's own list, which it walks several times a step
            trials[:] = [trial for trial in trials if not trial.is_finished()] or trials[-1:]

    def __getstate__(self) -> dict[str, Any]:
        return {}
