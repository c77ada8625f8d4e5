"""The best trials of a sweep that has run to its end, measured again with fresh seeds and the full budget."""

from __future__ import annotations

from collections.abc import Callable

import ray
from ray.exceptions import RayError

from trainables.catalog import MODELS, sign
from trainables.ray_worker import recheck as measured
from tune_app.cluster.ray import Cluster
from tune_app.config.schema import SweepConfig
from tune_app.driver.scheduler import drawn
from tune_app.driver.stopping import Limits
from tune_app.driver.trial_spec import Basis, threads, trial_spec
from tune_app.experiment.folder import Experiment
from tune_app.experiment.log import EventLog
from tune_app.experiment.records import Records, TrialRecord, front, ranked

LOOK_SECONDS = 0.5


def recheck(
    config: SweepConfig,
    experiment: Experiment,
    log: EventLog,
    records: Records,
    cluster: Cluster,
    basis: Basis,
    limits: Limits,
    note: Callable[[str], None],
) -> None:
    """Log a `rechecked` event for each of the best trials that has none yet; an interruption leaves the rest."""
    waiting = [record for record in _best(config, records) if not record.recheck]
    if not waiting:
        return
    note(f"measuring the best {len(waiting)} again with fresh seeds: {', '.join(record.id for record in waiting)}")
    plan = config.recheck.model_dump(exclude={"trials"})
    task = ray.remote(measured).options(num_cpus=config.resources.cpu, num_gpus=config.resources.gpus)
    going: dict[ray.ObjectRef, TrialRecord] = {}
    while (waiting or going) and not limits.interrupted:
        while waiting and len(going) < cluster.slots:
            record = waiting.pop(0)
            checkpoints, spec = experiment.checkpoints(record, config.storage), trial_spec(config, record)
            own = _chosen(record, len(spec.final_sampling), config.metric.name)
            going[task.remote(spec, checkpoints, basis.yardstick, threads(config), {"own": own, **plan})] = record
        done, _ = ray.wait(list(going), timeout=LOOK_SECONDS)
        for reference in done:
            record = going.pop(reference)
            try:
                found = ray.get(reference)
            except RayError as error:
                found = str(error).strip().splitlines()[-1]
            if isinstance(found, str):
                note(f"trial {record.id} could not be measured again: {found}")
                continue
            with limits.storage():
                pictures = drawn(experiment, record, "final", found.pictures)
                log.append("rechecked", trial=record.id, **{**vars(found), "pictures": pictures})
        limits.look()
    for reference in going:
        ray.cancel(reference, force=True)


def _best(config: SweepConfig, records: Records) -> list[TrialRecord]:
    """The trials whose place is worth a second look: of those that ran to the end, the best or the front's first."""
    if not MODELS[config.model].uses_images:
        return []
    ended = [record for record in records.trials.values() if record.state == "completed"]
    names = [one.name for one in config.metrics]
    return (front(ended, names) if names else ranked(ended, config.metric.name))[: config.recheck.trials]


def _chosen(record: TrialRecord, settings: int, metric: str) -> int:
    """Which of its last sampling settings the trial's own evaluation ended with."""
    curve = record.rungs[-1].curve
    if len(curve) != settings:
        return 0
    by = metric if metric in curve[0] else "kid"
    values = [row.get(by) for row in curve]
    known = [(sign(by) * value, index) for index, value in enumerate(values) if value is not None]
    return min(known)[1] if known else 0
