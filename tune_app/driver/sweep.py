"""A sweep run to its end: Ray started, the log opened, every trial trained and ended, the summary written."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from trainables.catalog import MODELS
from trainables.model import DataSpec, RunSpec
from tune_app import results, study
from tune_app.config.load import dump
from tune_app.config.models import SweepConfig
from tune_app.driver import cluster as ray_cluster
from tune_app.driver.cluster import Cluster
from tune_app.events import Event, EventLog
from tune_app.experiment import Experiment, check_writable, create, write, write_json
from tune_app.plan import FINAL_SETTINGS, RUNG_SETTINGS, rungs
from tune_app.results import Records, TrialRecord
from tune_app.trackers.console import Quiet


def run_sweep(
    config: SweepConfig,
    *,
    out: Path,
    address: str | None = None,
    about: dict[str, Any] | None = None,
    console: Quiet | None = None,
) -> Experiment:
    """Run `config` as a new experiment under `out`; `about` (profile, command, source file) goes to its manifest.

    Raises InputError before anything is written where the machine, the data or the folder do not allow the sweep.
    """
    check_writable(out)
    with ray_cluster.started(config.resources, address) as cluster:
        fingerprint = _prepare(config)
        experiment = create(out, config.name)
        write(experiment.sweep_yaml, dump(config))
        write_json(experiment.manifest, _manifest(config, cluster, fingerprint, about or {}))
        with experiment.locked():
            _drive(config, experiment, cluster, console or Quiet())
    return experiment


def resume_sweep(experiment: Experiment, *, address: str | None = None, console: Quiet | None = None) -> Experiment:
    """Carry on an experiment: unfinished trials from their last checkpoint, then those not yet asked for."""
    config = experiment.config()
    with experiment.locked(), ray_cluster.started(config.resources, address) as cluster:
        _prepare(config)
        _drive(config, experiment, cluster, console or Quiet())
    return experiment


def _drive(config: SweepConfig, experiment: Experiment, cluster: Cluster, console: Quiet) -> None:
    """Tune's loop over one session of the experiment."""
    from ray import tune

    from tune_app.driver.asha import RungBook, Trust
    from tune_app.driver.hooks import Rungs, Watcher, replay
    from tune_app.driver.limits import Limits
    from tune_app.driver.search import Search, reuses_actors

    experiment.stop_file.unlink(missing_ok=True)
    log = EventLog(experiment.events)
    hours, metric = _hours(log.events), config.metric.name
    trust = config.scheduler.trust
    book = RungBook(
        rungs(config.scheduler), config.scheduler.reduction_factor, Trust(trust.trials, trust.tau) if trust else None
    )
    records, teller = Records(), study.rebuild(experiment, config.name, log.events, config.space, metric)
    log.subscribe(records.apply)
    replay(book, records, log.events, metric)
    log.listen(teller)
    log.listen(console.event)
    limits = Limits(config.budget, experiment, records, cpu=config.resources.cpu, gpu=config.resources.gpu, hours=hours)
    search = Search(
        config, experiment, log, records, teller, limits, cluster=cluster, arguments=_arguments(config, experiment)
    )
    console.begin(config, experiment, records, cluster.slots)
    log.append("sweep_resumed" if log.events else "sweep_started", name=config.name, seed=config.search.seed)
    _set_pending(cluster.slots)
    state = "failed"
    try:
        with _closing(console), limits.signals():
            if not search.is_finished():
                tune.run(
                    _trainable(),
                    name="tune",
                    storage_path=str(cluster.scratch),
                    search_alg=search,
                    scheduler=Rungs(book, metric, experiment, log, records, limits, slots=cluster.slots),
                    stop=limits,
                    callbacks=[Watcher(metric, experiment, log, records, console.pulse)],
                    reuse_actors=reuses_actors(config),
                    raise_on_failed_trial=False,
                    verbose=0,
                )
        state = "interrupted" if limits.interrupted else "budget" if limits.spent else _end_state(records)
    finally:
        experiment.stop_file.unlink(missing_ok=True)
        log.append("sweep_ended", state=state, hours=limits.hours)
        write_json(experiment.summary, summarise(config, records, limits.hours))
        log.close()


def summarise(config: SweepConfig, records: Records, hours: float) -> dict[str, Any]:
    """summary.json: counts by state, the best trial, what was spent."""
    metric = config.metric.name
    record = results.best(records.trials.values(), metric)
    warning = MODELS[config.model].metrics[metric].warning
    return {
        "name": config.name,
        "state": records.state,
        "trials": {state: count for state, count in sorted(records.counts.items()) if count},
        "metric": config.metric.model_dump(),
        "best": record and results.describe(record, metric),
        "cost": results.cost(records.trials.values(), hours=hours, cpu=config.resources.cpu, gpu=config.resources.gpu),
        "warnings": [f"metric {metric}: {warning}"] if warning else [],
    }


def _end_state(records: Records) -> str:
    return "completed" if records.counts["completed"] + records.counts["stopped"] else "failed"


def _hours(events: list[Event]) -> float:
    """Hours on the wall that earlier sessions spent; a killed one counts up to its last event."""
    total, began = 0.0, None
    for index, event in enumerate(events):
        if event["event"] in ("sweep_started", "sweep_resumed"):
            began = event["time"]
        closes = index + 1 == len(events) or events[index + 1]["event"] == "sweep_resumed"
        if closes and began is not None:
            seconds = (datetime.fromisoformat(event["time"]) - datetime.fromisoformat(began)).total_seconds()
            total, began = total + max(0.0, seconds) / 3600, None
    return total


def _arguments(config: SweepConfig, experiment: Experiment) -> Callable[[TrialRecord], dict[str, Any]]:
    """What the trainable of a trial is given."""

    def arguments(record: TrialRecord) -> dict[str, Any]:
        return {
            "spec": _spec(config, record.params, seed=trial_seed(config.search.seed, record.number)),
            "rungs": rungs(config.scheduler),
            "report_kimg": config.evaluation.report_kimg,
            "threads": _threads(config),
            "stop_file": str(experiment.stop_file),
        }

    return arguments


def trial_seed(seed: int, number: int) -> int:
    """The seed of a trial: from the sweep's seed and the trial's number alone."""
    return (seed * 1_000_003 + number * 7919 + 1) % 2**31


def _spec(config: SweepConfig, params: dict[str, Any], *, seed: int) -> RunSpec:
    known = MODELS[config.model].parameters
    given = {**{name: item.default for name, item in known.items()}, **config.fixed, **params}
    outer = {name: value for name, value in given.items() if known[name].stage == "training"}
    inner = {name: value for name, value in given.items() if known[name].stage == "sampling"}
    return RunSpec(
        model=config.model,
        params=outer,
        seed=seed,
        metric=config.metric.name,
        data=DataSpec(config.data.name, config.data.resolution, config.data.path),
        samples=config.evaluation.samples,
        final_samples=config.evaluation.final_samples,
        nfe=config.evaluation.nfe,
        sampling=tuple({**inner, **setting} for setting in config.space.sampling_grid(RUNG_SETTINGS, given)),
        final_sampling=tuple({**inner, **setting} for setting in config.space.sampling_grid(FINAL_SETTINGS, given)),
        max_kimg=config.scheduler.max_kimg,
    )


def _prepare(config: SweepConfig) -> str:
    """The fingerprint of the data, decoded once; the empty one where a model uses none."""
    if not MODELS[config.model].uses_images:
        return ""
    return ray_cluster.prepared(_spec(config, {}, seed=0), threads=_threads(config))


def _threads(config: SweepConfig) -> int:
    return max(1, int(config.resources.cpu))


def _trainable() -> Any:
    from trainables.ray_trainable import RayTrial

    return RayTrial


def _set_pending(slots: int) -> None:
    """As many trials may start at once as run at once; Tune's own choice is one after the other."""
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(min(slots, 16))


@contextmanager
def _closing(console: Quiet) -> Iterator[None]:
    try:
        yield
    finally:
        console.end()


def _manifest(config: SweepConfig, cluster: Cluster, fingerprint: str, about: dict[str, Any]) -> dict[str, Any]:
    packages = {}
    for name in ("tune_app", "torch", "torchvision", "ray", "optuna", "numpy"):
        with suppress(Exception):
            packages[name] = version(name)
    return {
        **about,
        "versions": {"python": platform.python_version(), **packages},
        "hardware": {"cpus": cluster.cpus, "gpus": cluster.gpus, "slots": cluster.slots, "machine": platform.machine()},
        "data": {**config.data.model_dump(), "fingerprint": fingerprint},
        "features": "randconv",
        "seed": config.search.seed,
    }
