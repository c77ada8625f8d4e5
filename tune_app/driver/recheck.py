"""The re-evaluation: the best trials of a finished sweep, evaluated again with fresh seeds and the full budget."""

import ray
from ray.exceptions import RayError

from trainables.catalog import sign
from trainables.ray_worker import recheck as recheck_task
from trainables.trial import Recheck
from tune_app.driver.finalists import to_recheck
from tune_app.driver.pictures import write_pictures
from tune_app.driver.session import Session
from tune_app.driver.stopping import Stopping
from tune_app.driver.trial_spec import threads, trial_spec
from tune_app.driver.tune_trial import classify
from tune_app.experiment.events import Rechecked, finite_or_null
from tune_app.experiment.records import TrialRecord
from tune_app.trackers.console import Quiet

POLL_SECONDS = 0.5


def recheck(session: Session, stopping: Stopping, console: Quiet) -> None:
    """Log a `rechecked` event for each finalist that has none yet. An interruption leaves the rest out."""
    waiting = to_recheck(session.config, session.records)
    if not waiting:
        return
    names = ", ".join(record.id for record in waiting)
    console.note(f"re-evaluating {len(waiting)} trials with fresh seeds: {names}")
    running: dict[ray.ObjectRef, TrialRecord] = {}
    while (waiting or running) and not (stopping.interruption.requested or stopping.budget.spent):
        while waiting and len(running) < session.cluster.slots:
            record = waiting.pop(0)
            running[_start(session, record)] = record
        console.progress(f"re-evaluating {', '.join(record.id for record in running.values())}")
        done, _ = ray.wait(list(running), timeout=POLL_SECONDS)
        for object_ref in done:
            record = running.pop(object_ref)
            result = _result(object_ref)
            if isinstance(result, str):
                console.note(f"trial {record.id} could not be re-evaluated: {result}")
                continue
            with stopping.interruption.disk_writes():
                _log(session, record, result)
        stopping.poll()
        console.pulse()
    for object_ref in running:
        ray.cancel(object_ref, force=True)
    if stopping.budget.spent and (left := [*waiting, *running.values()]):
        console.note(f"the budget is spent; not re-evaluated: {', '.join(record.id for record in left)}")


def _start(session: Session, record: TrialRecord) -> ray.ObjectRef:
    config = session.config
    spec = trial_spec(config, record)
    chosen = _chosen_setting(record, len(spec.final_sampling), session.metric)
    plan = {"own": chosen, **config.recheck.model_dump(exclude={"trials", "seeds"})}
    task = ray.remote(recheck_task).options(num_cpus=config.resources.cpu, num_gpus=config.resources.gpus)
    return task.remote(spec, session.checkpoints(record.id), session.data.sample_metrics, threads(config), plan)


def _result(object_ref: ray.ObjectRef) -> Recheck | str:
    """Return the re-evaluation, or why there is none."""
    try:
        result: Recheck | str = ray.get(object_ref)
    except RayError as error:
        return classify(error).message
    return result


def _log(session: Session, record: TrialRecord, result: Recheck) -> None:
    pictures = write_pictures(session.experiment, record.id, "final", result.pictures)
    fields = {"time": session.log.now(), "trial": record.id, **vars(result), "pictures": pictures}
    session.log.append(Rechecked.model_validate(finite_or_null(fields)))


def _chosen_setting(record: TrialRecord, settings: int, metric: str) -> int:
    """Return the index of the sampling setting that the trial's last evaluation chose."""
    curve = record.rungs[-1].curve
    if len(curve) != settings:
        return 0
    by = metric if metric in curve[0] else "kid"
    costs = [(sign(by) * float(value), index) for index, row in enumerate(curve) if (value := row.get(by)) is not None]
    return min(costs)[1] if costs else 0
