"""Which trial runs next: those of an earlier session first, then the baselines, then what Optuna's sampler proposes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import optuna
from ray.train._internal.storage import StorageContext
from ray.tune.search import SearchAlgorithm

from search_spaces.to_optuna import suggest
from tune_app.cluster.ray import Cluster
from tune_app.config.schema import SweepConfig
from tune_app.driver.stopping import Limits
from tune_app.driver.study import OuterSampler, StudyTeller
from tune_app.driver.tune_trial import TrackedTrial
from tune_app.experiment.folder import Experiment
from tune_app.experiment.log import EventLog
from tune_app.experiment.records import Records, TrialRecord
from tune_app.plan import trial_count

WARM = "warm-"
Arguments = Callable[[TrialRecord], dict[str, Any]]


class Search(SearchAlgorithm):
    """Hands Tune one trial for every free slot, under the sweep's own ids, and logs its end."""

    def __init__(
        self,
        config: SweepConfig,
        experiment: Experiment,
        log: EventLog,
        records: Records,
        teller: StudyTeller,
        limits: Limits,
        *,
        cluster: Cluster,
        arguments: Arguments,
    ) -> None:
        self._config, self._experiment, self._log, self._records = config, experiment, log, records
        self._teller, self._limits, self._room, self._arguments = teller, limits, cluster.room, arguments
        self._unfinished = deque(record.id for record in records.trials.values() if not record.ended)
        self._live: set[str] = set()
        self._closed = False
        self._total = trial_count(config)
        self._grid = _shuffled_grid(config) if config.search.sampler == "grid" else None
        self._storage = StorageContext(storage_path=str(cluster.scratch), experiment_dir_name="trials")
        self._cold = cluster.slots if reuses_actors(config, cluster) else 0

    def next_trial(self) -> TrackedTrial | None:
        self._limits.look()  # while no trial runs, Tune calls nothing else
        with self._limits.storage():
            if not self.is_finished() and not self._limits.held and len(self._live) < self._room():
                return self._warm_up() if self._cold else self._next()
        return None

    def is_finished(self) -> bool:
        if self._closed or self._limits.interrupted or self._limits.spent:
            return True
        asked_all = self._limits.closed or self._limits.full or len(self._records.trials) >= self._total
        return asked_all and not self._unfinished

    def set_finished(self) -> None:
        self._closed = True

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Nothing: the scheduler has logged it."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self._live.discard(trial_id)
        record = self._records.unfinished.get(trial_id)
        if record is None or self._limits.broken:
            return
        if _decided(record):
            with self._limits.storage():
                self._end(record)
        elif error:  # Tune gives up a trial whose worker is lost while it starts, though it may be tried again
            self._unfinished.append(trial_id)

    def _next(self) -> TrackedTrial | None:
        """The next trial of an earlier session, else a new one; None if there is neither."""
        while self._unfinished:
            record = self._records.trials[self._unfinished.popleft()]
            if _decided(record) or self._limits.reason(record):
                self._end(record)  # the driver died, or a person stopped it, between the decision and the end
            else:
                return self._tracked(record)
        if len(self._records.trials) < self._total and not (self._limits.closed or self._limits.full):
            return self._tracked(self._ask())
        return None

    def _end(self, record: TrialRecord) -> None:
        state, reason = self._outcome(record)
        metrics = record.rungs[-1].metrics if record.rungs else {}
        self._log.append("ended", trial=record.id, state=state, reason=reason, kimg=record.kimg, metrics=metrics)

    def _outcome(self, record: TrialRecord) -> tuple[str, str]:
        if record.failed_for_good:
            return "failed", record.failures[-1]["kind"]
        if record.kimg >= self._config.scheduler.max_kimg:
            return "completed", "max_kimg"
        if _decided(record):
            return "stopped", record.reports[-1].reason or "asha"
        return "stopped", self._limits.reason(record) or "person"

    def _ask(self) -> TrialRecord:
        number = len(self._records.trials)
        trial = f"{number:04d}"
        if number < len(self._config.baselines):
            source, given = "baseline", dict(self._config.baselines[number])
        else:
            source, given = "sampler", self._next_grid_point(number)
        study = self._teller.study
        study.sampler = OuterSampler(_sampler(self._config, number), self._config.space, self._teller.best)
        if given:
            study.enqueue_trial(given)
        asked = study.ask()
        searched = suggest(asked, self._config.space)
        self._teller.adopt(trial, asked._trial_id)
        self._log.append("asked", trial=trial, params={**self._config.fixed, **searched}, source=source)
        return self._records.trials[trial]

    def _next_grid_point(self, number: int) -> dict[str, Any]:
        return {} if self._grid is None else self._grid[number - len(self._config.baselines)]

    def _warm_up(self) -> TrackedTrial:
        """A trial of no work: its actor is up before the first real one is asked for, and is then reused."""
        self._cold -= 1
        name = f"{WARM}{self._cold}"
        self._live.add(name)
        return self._build(name, {"threads": 1})

    def _tracked(self, record: TrialRecord) -> TrackedTrial:
        self._live.add(record.id)
        retries = self._config.failures.retries - record.counted_failures
        return self._build(record.id, self._arguments(record), gpu=record.gpu, retries=retries, further=record.further)

    def _build(
        self, name: str, config: dict[str, Any], *, gpu: float | None = None, retries: int = 0, further: bool = False
    ) -> TrackedTrial:
        resources = self._config.resources
        return TrackedTrial(
            name,
            resources=resources,
            gpu=resources.gpus if gpu is None else gpu,
            retries=retries,
            further=further,
            config=config,
            storage=self._storage,
        )

    # the rest of Tune's interface: snapshots are out of the game, the log is the truth
    @property
    def metric(self) -> str:
        return self._config.metric.name

    @property
    def total_samples(self) -> int:
        return self._total

    def set_search_properties(self, *_: Any, **__: Any) -> bool:
        return True

    def add_configurations(self, experiments: Any) -> None:
        """Nothing: trials are built here."""

    def save_to_dir(self, dirpath: str, **_: Any) -> None:
        """Nothing to save."""

    def has_checkpoint(self, dirpath: str) -> bool:
        return False

    def __getstate__(self) -> dict[str, Any]:
        return {}


def reuses_actors(config: SweepConfig, cluster: Cluster) -> bool:
    """Short CPU trials of one machine share their actor; a GPU trial of minutes gets a clean process."""
    return cluster.local and config.resources.gpu == 0


def _decided(record: TrialRecord) -> bool:
    """Whether the log already says that this trial goes no further."""
    return record.failed_for_good or bool(record.reports and record.reports[-1].decision == "stop")


def _sampler(config: SweepConfig, number: int) -> optuna.samplers.BaseSampler:
    """A fresh sampler for trial `number`: its draws depend on the seed, the number and the history alone."""
    seed = int(np.random.SeedSequence([config.search.seed, number]).generate_state(1)[0] % 2**31)
    kind = config.search.sampler
    startup = 10 + len(config.baselines)
    if kind == "tpe":
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=min(startup, max(4, config.search.trials // 3)))
    if kind == "gp":
        return optuna.samplers.GPSampler(seed=seed, n_startup_trials=min(startup, max(4, config.search.trials // 3)))
    if kind == "cmaes":
        return optuna.samplers.CmaEsSampler(seed=seed)
    return optuna.samplers.RandomSampler(seed=seed)


def _shuffled_grid(config: SweepConfig) -> list[dict[str, Any]]:
    points = config.space.grid()
    Random(config.search.seed).shuffle(points)
    return points
