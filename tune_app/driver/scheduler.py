"""The scheduler logs every result, checkpoint and failure that Tune receives, with ASHA's decision."""

import time
from collections.abc import Iterable, Mapping, MutableSequence
from math import isfinite

from ray.tune import Callback, Stopper
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from search_spaces.distributions import Scalar
from trainables import storage
from trainables.catalog import sign
from trainables.files import write_file
from trainables.trial import Report
from tune_app.cluster.health import HEAD_SECONDS, NOTE_SECONDS
from tune_app.cluster.slots import described
from tune_app.driver.asha import RungBook
from tune_app.driver.pictures import write_pictures
from tune_app.driver.session import Session
from tune_app.driver.stopping import GRACE_SECONDS, LeaveTune, Stopping
from tune_app.driver.trust import trust_rule
from tune_app.driver.tune_trial import TuneTrial
from tune_app.driver.worker_output import keep_worker_output
from tune_app.experiment.elsewhere import lies_elsewhere
from tune_app.experiment.event_fields import Decision, FailureKind
from tune_app.experiment.events import Asked, Event, Failed, Reported, finite_or_null
from tune_app.experiment.records import TrialRecord
from tune_app.trackers.console import Quiet

NEWEST_CHECKPOINTS = 2
MOST_TUNE_TRIALS = 32
SILENT_HEAD_SECONDS = 5.0


def make_rung_book(session: Session) -> RungBook:
    """Return ASHA's rung book, filled from the log. Values are negated if higher is better."""
    config = session.config
    book = RungBook(config.rungs, config.scheduler.reduction_factor, trust_rule(config.scheduler.trust))
    record_rungs(book, session.log.events, session.metric, config.constants)
    return book


def record_rungs(book: RungBook, events: Iterable[Event], metric: str, constants: Mapping[str, Scalar]) -> None:
    """Record the rung values of logged reports in the order of the log.

    Trainings with fresh seeds and baselines outside the search space are left out: they tell nothing of its trials.
    """
    left_out: set[str] = set()
    for event in events:
        if isinstance(event, Asked) and (event.retrains or lies_elsewhere(event.params, constants)):
            left_out.add(event.trial)
        if isinstance(event, Reported) and event.rung and event.trial not in left_out:
            value = event.metrics.get(metric)
            if value is not None:
                book.record(event.trial, event.kimg, sign(metric) * value)


class SweepScheduler(FIFOScheduler):
    """Tune's scheduler: logs each report with the decision that ASHA takes on it."""

    def __init__(self, session: Session, book: RungBook, stopping: Stopping) -> None:
        super().__init__()
        self._session, self._book, self._stopping = session, book, stopping
        self._warm: set[str] = set()
        self._removed: dict[str, set[str]] = {}
        """Checkpoints of each running trial that this session has removed."""

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: object) -> bool:
        """Accept whatever Tune sets."""
        return True

    def on_trial_result(self, tune_controller: object, trial: TuneTrial, result: dict[str, object]) -> str:
        """Log a worker's result and return Tune's word for continue or stop."""
        if result.get("warm"):
            return self._warmed_up(trial.trial_id)
        record = self._session.records.trials[trial.trial_id]
        decision: Decision = "continue"
        with self._stopping.interruption.faults():
            report, message, checkpoint = result.get("report"), result.get("failed"), result.get("checkpoint")
            if isinstance(message, str):
                decision = self._log_non_finite(record, message)
            elif isinstance(report, Report) and report.kimg > record.kimg:  # else a retry has repeated it
                decision = self._log_report(record, report, str(checkpoint or ""))
                trial.progressed = record.progressed
        if result.get("parked"):
            self._stopping.interruption.parked.add(record.id)
        return _tune_word(decision)

    def on_trial_error(self, tune_controller: object, trial: TuneTrial) -> None:
        """Log a failed trial."""
        failure = trial.failure
        if failure and failure.kind == "worker_lost":
            self._stopping.leave_if_dying()
        self._removed.pop(trial.trial_id, None)  # the trial may write one of them again
        if trial.trial_id not in self._session.records.unfinished or failure is None:
            return  # the actor could not start (its first trial will report the reason), or its trial has ended
        if failure.disk:
            self._stopping.interruption.disk_error = failure.disk
            return
        if trial.grown:
            trial.grow()
        with self._stopping.interruption.faults():
            self._session.experiment.trial(trial.trial_id).mkdir(parents=True, exist_ok=True)
            write_file(self._session.experiment.error_file(trial.trial_id), failure.traceback + "\n")
            if self._session.cluster.logs:
                keep_worker_output(self._session.experiment, trial.trial_id, self._session.cluster.logs)
            self._log_failure(trial.trial_id, failure.kind, failure.message, trial)
            trial.config["checkpoints"] = self._session.checkpoints(trial.trial_id)

    def _warmed_up(self, name: str) -> str:
        """Release all warm actors at once. If one became idle early, Tune would cancel the actors still starting."""
        self._warm.add(name)
        return _tune_word("stop" if len(self._warm) >= self._session.cluster.slots else "continue")

    def _log_failure(self, trial: str, kind: FailureKind, message: str, retried: TuneTrial | None = None) -> None:
        retry = retried is not None and retried.should_recover()
        failure = Failed(time=self._session.log.now(), trial=trial, kind=kind, message=message, retry=retry)
        if retried is not None and retried.grown:
            failure = failure.model_copy(update={"gpu": retried.gpu})
        self._session.log.append(failure)

    def _log_non_finite(self, record: TrialRecord, message: str) -> Decision:
        self._log_failure(record.id, "non_finite", message)
        return "stop"

    def _log_report(self, record: TrialRecord, report: Report, checkpoint: str) -> Decision:
        session, kimg = self._session, report.kimg
        decision: Decision = "continue"
        given: dict[str, object] = {}
        if report.rung:
            value = report.metrics.get(session.metric)
            if value is None or not isfinite(value):
                where = f"{kimg:g} kimg"
                if value is None:
                    return self._log_non_finite(record, f"{session.metric} is missing from the evaluation at {where}")
                return self._log_non_finite(record, f"{session.metric} is {value} at {where}, not a finite number")
            if record.retrains or lies_elsewhere(record.params, session.config.constants):
                decision = "stop" if kimg >= session.config.rungs[-1] else "continue"
            else:
                baseline = record.source == "baseline"
                verdict = self._book.report(record.id, kimg, sign(session.metric) * value, protected=baseline)
                decision = verdict.decision
                given = {} if verdict.trusted is None else {"trusted": verdict.trusted}
        reason = self._reason_to_stop(record, report) if decision == "continue" else ""
        if reason:
            decision, given = "stop", {**given, "reason": reason}
        if checkpoint:
            given["checkpoint"] = session.experiment.relative(session.experiment.trial(record.id) / checkpoint)
        pictures = write_pictures(session.experiment, record.id, f"{kimg:g}", report.pictures)
        report.pictures.clear()  # Tune keeps the last result of every trial in memory
        fields = {"time": session.log.now(), "trial": record.id, **vars(report), **given}
        logged = finite_or_null(
            {**fields, "pictures": pictures, "decision": decision, "hours": self._stopping.budget.hours}
        )
        session.log.append(Reported.model_validate(logged))
        self._remove_old_checkpoints(record)
        if decision == "stop":
            self._removed.pop(record.id)
        return decision

    def _reason_to_stop(self, record: TrialRecord, report: Report) -> str:
        if self._stopping.requests.stops(record):
            return "person"
        return "budget" if report.rung and self._stopping.budget.spent else ""

    def _remove_old_checkpoints(self, record: TrialRecord) -> None:
        """Remove old checkpoints. Keep the newest two, that of the last rung and that of the best rung."""
        session, metric = self._session, self._session.metric
        rungs = [report for report in record.rungs if record.checkpoint_at(report.kimg)]
        best = min(rungs, key=lambda report: sign(metric) * (report.metrics[metric] or 0.0), default=None)
        kept = {one.path for one in record.checkpoints[-NEWEST_CHECKPOINTS:]}
        kept |= {record.checkpoint_at(one.kimg) or "" for one in (*rungs[-1:], *([best] if best else []))}
        removed = self._removed.setdefault(record.id, set())
        for path in {one.path for one in record.checkpoints} - kept - removed:
            storage.remove(session.experiment.place(path, session.config.storage))
            removed.add(path)


class SweepCallback(Callback):
    """Tune's callback: redraws the console, says why nothing runs, and drops ended trials from Tune's list."""

    def __init__(self, session: Session, stopping: Stopping, console: Quiet) -> None:
        self._session, self._stopping, self._console = session, stopping, console
        self._ran = time.monotonic()
        self._acknowledged = self._head_missed = False

    def on_step_end(self, iteration: int, trials: MutableSequence[TuneTrial], **_: object) -> None:
        """Redraw the console, and keep Tune's own list short, because Tune walks it several times per step."""
        self._console.pulse()
        if self._stopping.interruption.requested and not self._acknowledged:
            self._acknowledged = True
            wait = f"up to {GRACE_SECONDS:g} s"
            self._console.note(f"finishing: running trials write a checkpoint, {wait}; Ctrl-C again to leave now")
        self._note_silent_head()
        if any(trial.status == TuneTrial.RUNNING for trial in trials):
            self._ran = time.monotonic()
        elif time.monotonic() - self._ran >= NOTE_SECONDS:
            self._ran = time.monotonic()
            self._console.note(self._reason())
        if len(trials) > MOST_TUNE_TRIALS:
            trials[:] = [trial for trial in trials if not trial.is_finished()] or trials[-1:]

    def __getstate__(self) -> dict[str, object]:
        return {}

    def _note_silent_head(self) -> None:
        watch = self._session.cluster.watch
        silent = watch is not None and watch.silence > SILENT_HEAD_SECONDS
        if silent and not self._head_missed:
            limit = f"{HEAD_SECONDS:g} s"
            self._console.note(f"the head of the cluster does not answer; the sweep ends if it is silent for {limit}")
        self._head_missed = silent

    def _reason(self) -> str:
        """Return the reason why no trial is running."""
        if self._stopping.requests.hold:
            return "no trial is running: the sweep is on hold until somebody resumes it in W&B"
        resources = self._session.cluster.resources
        needed = described([{"CPU": resources.cpu, "GPU": resources.gpus}])
        return f"no trial is running: waiting for a node with {needed}"


class SweepStopper(Stopper):
    """Tune's stopper. After every step, Tune asks it if the sweep must end."""

    def __init__(self, session: Session, stopping: Stopping) -> None:
        self._ours, self._stopping = session.cluster.ours, stopping

    def __call__(self, trial_id: str, result: dict[str, object]) -> bool:
        return False

    def stop_all(self) -> bool:
        """Return True if the sweep ends now. With our own Ray, raise LeaveTune instead: ending Ray cleans up faster."""
        self._stopping.poll()
        if self._stopping.interruption.complete and self._ours:
            raise LeaveTune
        return self._stopping.interruption.complete

    def __getstate__(self) -> dict[str, object]:
        return {}


def _tune_word(decision: Decision) -> str:
    return str(TrialScheduler.STOP if decision == "stop" else TrialScheduler.CONTINUE)
