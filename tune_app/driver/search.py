"""Which trial runs next: those of an earlier session first, then the baselines, then what Optuna's sampler proposes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import optuna
from ray import tune
from ray.train._internal.session import _TrainingResult
from ray.train._internal.storage import StorageContext
from ray.tune.search import SearchAlgorithm

from search_spaces.to_optuna import suggest
from tune_app.config.models import SweepConfig
from tune_app.driver.cluster import Cluster
from tune_app.driver.limits import Limits
from tune_app.driver.ray_trial import TrackedTrial
from tune_app.events import EventLog
from tune_app.experiment import Experiment
from tune_app.plan import trial_count
from tune_app.results import Records, TrialRecord
from tune_app.study import OuterSampler, StudyTeller

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
        self._teller, self._limits, self._slots, self._arguments = teller, limits, cluster.slots, arguments
        self._unfinished = deque(record.id for record in records.trials.values() if not record.ended)
        self._live: set[str] = set()
        self._closed = False
        self._total = trial_count(config)
        self._grid = _shuffled_grid(config) if config.search.sampler == "grid" else None
        self._storage = StorageContext(storage_path=str(experiment.folder), experiment_dir_name="trials")
        self._scratch = StorageContext(storage_path=str(cluster.scratch), experiment_dir_name="warm")
        self._cold = cluster.slots if reuses_actors(config) else 0

    def next_trial(self) -> TrackedTrial | None:
        if self.is_finished() or len(self._live) >= self._slots or self._limits.hold:
            return None
        if self._cold:
            return self._warm_up()
        if self._unfinished:
            record = self._records.trials[self._unfinished.popleft()]
        elif len(self._records.trials) < self._total and not self._limits.spent:
            record = self._ask()
        else:
            return None
        self._live.add(record.id)
        return self._tracked(record)

    def is_finished(self) -> bool:
        if self._closed or self._limits.interrupted:
            return True
        asked_all = self._limits.spent or len(self._records.trials) >= self._total
        return asked_all and not self._unfinished

    def set_finished(self) -> None:
        self._closed = True

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Nothing: the scheduler has logged it."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self._live.discard(trial_id)
        if trial_id.startswith(WARM):
            return
        record = self._records.trials[trial_id]
        if record.ended or (self._limits.interrupted and not self._decided(record)):
            return
        state, reason = self._outcome(record, error)
        rung = record.rungs[-1] if record.rungs else None
        self._log.append(
            "ended", trial=trial_id, state=state, reason=reason, kimg=record.kimg, metrics=rung.metrics if rung else {}
        )

    def _decided(self, record: TrialRecord) -> bool:
        return bool(record.reports) and record.reports[-1].decision == "stop"

    def _outcome(self, record: TrialRecord, error: bool) -> tuple[str, str]:
        failure = record.failures[-1] if record.failures else None
        if failure and not failure["retry"]:
            return "failed", failure["kind"]
        if error:
            return "failed", "error"
        if record.kimg >= self._config.scheduler.max_kimg:
            return "completed", "max_kimg"
        return "stopped", self._limits.reason(record.id) or "asha"

    def _ask(self) -> TrialRecord:
        number = len(self._records.trials)
        trial = f"{number:04d}"
        if number < len(self._config.baselines):
            source, given = "baseline", dict(self._config.baselines[number])
        else:
            source, given = "sampler", self._next_grid_point(number)
        study = self._teller.study
        study.sampler = OuterSampler(_sampler(self._config, number), self._config.space)
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
        return self._build(name, {"threads": 1, "stop_file": str(self._experiment.stop_file)}, storage=self._scratch)

    def _tracked(self, record: TrialRecord) -> TrackedTrial:
        trial = self._build(record.id, self._arguments(record), storage=self._storage, record=record)
        _restore_last_checkpoint(trial, self._experiment, record)
        return trial

    def _build(
        self, name: str, config: dict[str, Any], *, storage: StorageContext, record: TrialRecord | None = None
    ) -> TrackedTrial:
        resources = self._config.resources
        gpu = resources.gpu if record is None or record.gpu is None else record.gpu
        return TrackedTrial(
            name,
            failed=len(record.failures) if record else 0,
            retries=self._config.failures.retries if record else 0,
            config=config,
            resources=tune.PlacementGroupFactory(
                [{"CPU": resources.cpu, "GPU": gpu} if gpu else {"CPU": resources.cpu}]
            ),
            storage=storage,
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


def reuses_actors(config: SweepConfig) -> bool:
    """Short CPU trials share their actor; a GPU trial of minutes gets a clean process."""
    return config.resources.gpu == 0


def _restore_last_checkpoint(trial: TrackedTrial, experiment: Experiment, record: TrialRecord) -> None:
    """Let Tune restore the newest checkpoint of the log that is whole on disk, and number the next ones after it."""
    taken = [_index(path) for path in experiment.trial(record.id).glob("checkpoint_*")]
    trial.storage.current_checkpoint_index = max(
        [_index(Path(path)) for _, path in record.checkpoints] + taken, default=-1
    )
    for kimg, path in reversed(record.checkpoints):
        folder = experiment.folder / path
        if (folder / "about.json").is_file():
            trial._restore_checkpoint_result = _TrainingResult(tune.Checkpoint(str(folder)), metrics={"kimg": kimg})
            return


def _index(path: Path) -> int:
    return int(path.name.rpartition("_")[2])


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
