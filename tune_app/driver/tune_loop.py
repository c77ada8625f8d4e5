"""Tune's loop for one session. The log gets the session's start and end, whatever happens in between."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from secrets import token_hex
from threading import Thread
from urllib.parse import urlsplit

from ray import tune
from ray.exceptions import RayError
from ray.tune.error import TuneError

from trainables import storage
from trainables.catalog import MODELS
from trainables.contract import SAMPLE_METRICS
from trainables.files import write_json
from trainables.ray_worker import RayWorker
from tune_app.answer.summary import Summary, summarise
from tune_app.cluster.ray_switches import count_no_callbacks, keep_secrets_out_of_runtime_envs
from tune_app.driver.finalists import to_retrain
from tune_app.driver.hung_trials import HungTrials
from tune_app.driver.manifest import versions
from tune_app.driver.out_of_memory import hand_over_ended_workers
from tune_app.driver.recheck import recheck
from tune_app.driver.scheduler import SweepCallback, SweepScheduler, SweepStopper, make_rung_book
from tune_app.driver.searcher import Searcher
from tune_app.driver.session import Session
from tune_app.driver.stopping import LeaveTune, Stopping
from tune_app.driver.study import StudyWriter, rebuild_study
from tune_app.errors import RayDiedError, StorageError, TuneAppError, first_line
from tune_app.experiment.changes import Changes
from tune_app.experiment.earlier import earlier_trials
from tune_app.experiment.event_fields import SweepState
from tune_app.experiment.events import EarlierTrial, SweepEnded, SweepResumed, SweepStarted
from tune_app.experiment.model_code import logged_plugins
from tune_app.experiment.queue import waiting_points
from tune_app.trackers.console import Quiet
from tune_app.trackers.wandb_process import wandb_process
from tune_app.trackers.webhook import post_summary

log = logging.getLogger(__name__)


def run_session(session: Session, console: Quiet, changes: Changes) -> None:
    """Run trials until none is left or something stops the sweep. `changes` were made since the last session.

    Raise StorageError if the experiment cannot be written and TuneAppError if Ray is lost. The sweep can be resumed.
    """
    experiment = session.experiment
    if session.cluster.watch:
        session.cluster.watch.hint = _resume_line(session)
    stopping = Stopping.of(session.config.budget, experiment, session.records, session.park_file)
    scheduler = SweepScheduler(session, make_rung_book(session), stopping)
    earlier = None
    if not session.log.events:
        earlier = earlier_trials(session.config, session.data.data, session.data.features)
        for line in earlier.lines:
            console.note(line)
    writer = _open_study(session, stopping, changes, earlier.trials if earlier else [])
    if writer:
        try:
            summary = _run(session, writer, scheduler, stopping, console)
        except (RayError, TuneError, ConnectionError) as error:
            if not stopping.interruption.broken:
                last_line = str(error).strip().splitlines()[-1]
                raise TuneAppError(f"Ray failed: {last_line}", hint=_hint(session)) from error
        else:
            _notify(session, summary, console)
    if stopping.interruption.fault:
        raise stopping.interruption.fault
    if stopping.interruption.disk_error:
        raise StorageError(stopping.interruption.disk_error.message, hint=_hint(session))


def _open_study(
    session: Session, stopping: Stopping, changes: Changes, earlier: Sequence[EarlierTrial]
) -> StudyWriter | None:
    """Rebuild the study and log the session's start. Return None if the disk fails."""
    with stopping.interruption.disk_writes():
        writer = rebuild_study(session.experiment, session.config, session.log.events)
        session.log.listen(writer)
        _log_start(session, changes, stopping.budget.hours, earlier)
        return writer
    return None


def _run(
    session: Session, writer: StudyWriter, scheduler: SweepScheduler, stopping: Stopping, console: Quiet
) -> Summary:
    """Run the trials and the re-evaluation, and log the session's end whatever happens."""
    session.log.listen(console.event)
    console.begin(session.config, session.experiment, session.records, session.cluster.slots)
    with wandb_process(session.config.wandb, session.experiment, console.note):
        state: SweepState = "interrupted"
        watch = session.cluster.watch
        if watch:
            watch.last_words = lambda: _log_end(session, stopping, "interrupted")
        try:
            with _closing(console), stopping.interruption.signals(lambda: console.leave(_resume_line(session))):
                _run_to_end(session, writer, scheduler, stopping, console)
            state = _end_state(session, stopping)
        finally:
            if watch:
                watch.last_words = lambda: None
            summary = _log_end(session, stopping, state)
            if left := len(waiting_points(session.experiment, session.records)):
                console.note(f"added points that have not been run: {left}; {_resume_line(session)}")
    if not stopping.interruption.broken:
        try:
            _write_report(session, console)
        except KeyboardInterrupt:
            if state == "interrupted":
                console.leave(_resume_line(session))
            raise
    return summary


def _run_to_end(
    session: Session, writer: StudyWriter, scheduler: SweepScheduler, stopping: Stopping, console: Quiet
) -> None:
    """Run the trials, re-evaluate the best and train them again. Raise RayDiedError if a process of Ray died."""
    try:
        _run_tune(session, Searcher(session, writer, stopping), scheduler, stopping, console)
        while _end_state(session, stopping) == "completed" and not stopping.requests.end_sweep:
            recheck(session, stopping, console)
            again = to_retrain(session.config, session.records)
            if not (again or stopping.requests.points) or stopping.no_more_trials or stopping.requests.ends:
                break
            if again:
                console.note(f"training again with fresh seeds: the settings of {', '.join(dict.fromkeys(again))}")
            _run_tune(session, Searcher(session, writer, stopping, again), scheduler, stopping, console)
    except LeaveTune as leave:
        if leave.args and not stopping.interruption.requested:
            raise RayDiedError(f"{leave} died", hint=_hint(session)) from None


def _hint(session: Session) -> str:
    return f"when this is fixed, {_resume_line(session)}"


def _resume_line(session: Session) -> str:
    return f"resume with: python -m tune_app resume {session.experiment.shown}"


def _log_start(session: Session, changes: Changes, hours: float, earlier: Sequence[EarlierTrial]) -> None:
    config, log = session.config, session.log
    new = config.retraining.sample_metrics if config.retraining else SAMPLE_METRICS
    fields = {
        "time": log.now(),
        "name": config.name,
        "seed": config.search.seed,
        "config": config.model_dump(mode="json", exclude={"profiles"}),
        "data": session.data.data,
        "features": session.data.features,
        "scale": session.data.scale,
        "compared": session.data.compared,
        "sample_metrics": session.records.sample_metrics if log.events else new,
        "identity": session.records.identity or ("" if log.events else token_hex(4)),
        "hours": hours,
        "versions": versions(),
        "model_version": MODELS[config.model].version,
        "constants": config.constants,
        **({"plugins": plugins} if (plugins := logged_plugins(config.model)) else {}),
        **({"changed": changes} if changes else {}),
        **({"warm_start": earlier} if earlier else {}),
        **({} if log.events else {"preparation": session.preparation}),
        **({"forecast": session.forecast} if session.forecast else {}),
    }
    log.append(SweepResumed.model_validate(fields) if log.events else SweepStarted.model_validate(fields))


def _log_end(session: Session, stopping: Stopping, state: SweepState) -> Summary:
    end = SweepEnded(time=session.log.now(), state=state, hours=stopping.budget.hours)
    with stopping.interruption.disk_writes():
        session.log.append(end.model_copy(update={"reason": "person"}) if stopping.requests.ends else end)
    summary = summarise(session.experiment, session.config, session.records, session.log.events)
    with stopping.interruption.disk_writes():
        write_json(session.experiment.summary, summary.as_json())
        storage.remove(session.park_file)
    return summary


def _write_report(session: Session, console: Quiet) -> None:
    """Write the report. A sweep does not fail because of its report."""
    if not session.records.searched:
        return
    console.progress("writing the report")
    try:
        from tune_app.report.page import write_report

        write_report(session.experiment)
    except Exception as error:
        log.debug("the report", exc_info=True)
        console.note(f"the report could not be written: {first_line(error)}")
    else:
        console.note(f"report: {session.experiment.report}")


def _run_tune(
    session: Session, searcher: Searcher, scheduler: SweepScheduler, stopping: Stopping, console: Quiet
) -> None:
    slots = session.cluster.slots
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # failures are reported by our own messages
    # By default Tune starts trials one after the other. Let as many start at once as can run at once.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(max(slots, 1))
    if searcher.is_finished():
        return
    keep_secrets_out_of_runtime_envs()
    count_no_callbacks()
    hand_over_ended_workers()
    # ASHA needs it at its first decision, and importing it takes half a second, which is free while workers start
    Thread(target=import_module, args=["scipy.stats"], daemon=True).start()
    tune.run(
        RayWorker,
        name="tune",
        storage_path=str(session.cluster.scratch),
        search_alg=searcher,
        scheduler=scheduler,
        stop=SweepStopper(session, stopping),
        callbacks=[SweepCallback(session, stopping, console), HungTrials(session)],
        reuse_actors=session.reuses_actors,
        raise_on_failed_trial=False,
        verbose=0,
    )


def _end_state(session: Session, stopping: Stopping) -> SweepState:
    requests = stopping.requests
    if stopping.interruption.requested and not stopping.budget.overrun:
        return "interrupted"
    if stopping.budget.spent and not requests.ends:
        return "budget"
    if session.records.unfinished and not requests.end_sweep:
        return "interrupted"  # Tune has not finished all trials; a resume does
    counts = session.records.counts
    return "completed" if counts["completed"] + counts["stopped"] else "failed"


def _notify(session: Session, summary: Summary, console: Quiet) -> None:
    webhook = session.config.notify.webhook
    if webhook and (error := post_summary(webhook, summary)):
        console.note(f"notify.webhook: could not post to {urlsplit(webhook).hostname}: {error}")


@contextmanager
def _closing(console: Quiet) -> Iterator[None]:
    try:
        yield
    finally:
        console.end()
