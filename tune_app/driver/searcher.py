"""The searcher gives Tune the next trial: unfinished ones, baselines, Optuna's proposals, then the best once more."""

from collections import deque
from collections.abc import Mapping, Sequence

from ray.train._internal.storage import StorageContext
from ray.tune.search import SearchAlgorithm

from search_spaces.distributions import Scalar
from search_spaces.to_optuna import suggest
from tune_app.config.point import point_complaints
from tune_app.driver.sampler import TrainingSampler, earlier_trials, make_sampler, shuffled_grid
from tune_app.driver.session import Session
from tune_app.driver.stopping import Stopping
from tune_app.driver.study import StudyWriter
from tune_app.driver.trial_spec import threads, trial_spec
from tune_app.driver.tune_trial import Allowance, TuneTrial
from tune_app.experiment.event_fields import Source, TrialEnd
from tune_app.experiment.events import Asked, Ended
from tune_app.experiment.queue import refuse_point, remove_point
from tune_app.experiment.records import TrialRecord
from tune_app.plan import trial_count

WARM_UP = "warm-"


class Searcher(SearchAlgorithm):
    """Gives Tune one trial for every free slot, under the sweep's ids, and logs each trial's end.

    `again` names trials whose setting is trained again with a fresh seed.
    """

    def __init__(self, session: Session, writer: StudyWriter, stopping: Stopping, again: Sequence[str] = ()) -> None:
        self._session, self._writer, self._stopping = session, writer, stopping
        self._config, self._records = session.config, session.records
        self._waiting = deque(record.id for record in session.records.trials.values() if not record.ended)
        """Unfinished trials that Tune does not have."""
        self._again = deque(again)
        self._with_tune: set[str] = set()
        self._closed = False
        self._total = trial_count(self._config)
        self._earlier = earlier_trials(self._config, self._records.warm_start)
        self._grid = shuffled_grid(self._config) if self._config.search.sampler == "grid" else None
        self._tune_storage = StorageContext(storage_path=str(session.cluster.scratch), experiment_dir_name="trials")
        self._warm_ups = session.cluster.slots if session.reuses_actors else 0

    def next_trial(self) -> TuneTrial | None:
        """Return the next trial, or None if no slot is free or no trial may start now."""
        self._stopping.poll()  # Tune calls nothing else while no trial runs
        full = len(self._with_tune) >= self._session.cluster.room()
        if full or self._stopping.requests.hold or self.is_finished():
            return None
        if self._warm_ups:
            return self._warm_up()
        with self._stopping.interruption.faults():  # of the log and of the study
            return self._next()
        return None

    def is_finished(self) -> bool:
        """Return True if no trial is left to start."""
        if self._closed or self._stopping.no_more_trials:
            return True
        asked_all = self._planned >= self._total and not self._again and not self._stopping.requests.points
        return (asked_all or self._stopping.requests.ends) and not self._waiting

    def set_finished(self) -> None:
        """Start no more trials."""
        self._closed = True

    def on_trial_result(self, trial_id: str, result: dict[str, object]) -> None:
        """Do nothing: the scheduler has logged the result."""

    def on_trial_complete(self, trial_id: str, result: dict[str, object] | None = None, error: bool = False) -> None:
        """Log the end of a trial that Tune has finished with, or let it wait for another start."""
        self._with_tune.discard(trial_id)
        record = self._records.unfinished.get(trial_id)
        if record is None or self._stopping.interruption.broken:
            return
        if record.decided:
            with self._stopping.interruption.faults():
                self._log_end(record)
        elif error:  # Tune gives up a trial whose worker is lost while it starts, although it may be retried
            self._waiting.append(trial_id)

    def _next(self) -> TuneTrial | None:
        while self._waiting:
            record = self._records.trials[self._waiting.popleft()]
            if not record.decided and not self._stopping.requests.stops(record):
                return self._start(record)
            self._log_end(record)  # a decided trial has no end yet if the driver died before it wrote it
        if self._stopping.requests.ends:
            return None
        if added := self._ask_added():
            return self._start(added)
        if self._planned < self._total:
            return self._start(self._ask_planned())
        return self._start(self._ask_again(self._again.popleft())) if self._again else None

    def _log_end(self, record: TrialRecord) -> None:
        state, reason = self._outcome(record)
        metrics = record.rungs[-1].metrics if record.rungs else {}
        log = self._session.log
        end = Ended(time=log.now(), trial=record.id, state=state, reason=reason, kimg=record.kimg, metrics=metrics)
        log.append(end)

    def _outcome(self, record: TrialRecord) -> tuple[TrialEnd, str]:
        if record.failed_for_good:
            return "failed", record.failures[-1].kind
        if record.kimg >= self._config.scheduler.max_kimg:
            return "completed", "max_kimg"
        if record.decided:
            return "stopped", record.reports[-1].reason or "asha"
        return "stopped", "person"

    @property
    def _planned(self) -> int:
        """Number of trials so far that `search.trials` counts."""
        return len(self._records.searched) - self._records.added

    def _ask_added(self) -> TrialRecord | None:
        """Ask the oldest point that a person added. Return None if there is none."""
        points, experiment = self._stopping.requests.points, self._session.experiment
        while points:
            point = points.pop(0)
            if point_complaints(self._config, point.params):
                refuse_point(experiment, point)
                continue
            record = self._ask(point.params, "person", point.request)
            remove_point(experiment, point)  # the log holds it now; if we are killed before this, it is not run again
            return record
        return None

    def _ask_planned(self) -> TrialRecord:
        number = self._planned
        return self._ask(self._given(number), "baseline" if number < len(self._config.baselines) else "sampler")

    def _ask(self, given: Mapping[str, Scalar], source: Source, request: str = "") -> TrialRecord:
        """Ask Optuna for a new trial with the given values and log it."""
        number, study, log = len(self._records.searched), self._writer.study, self._session.log
        trial, space = self._next_id(), self._config.space
        sampler = make_sampler(self._config, number, self._earlier)
        study.sampler = TrainingSampler(sampler, space, self._writer.best, self._earlier)
        searched = {name: value for name, value in given.items() if name in space.training}
        others = {name: value for name, value in given.items() if name not in searched}  # of a baseline alone
        if searched:
            study.enqueue_trial(searched)
        proposed = study.ask()
        params = {**self._config.fixed, **others, **suggest(proposed, space, others)}
        self._writer.adopt(trial, proposed._trial_id)
        asked = Asked(time=log.now(), trial=trial, params=params, source=source)
        log.append(asked.model_copy(update={"request": request}) if request else asked)
        return self._records.trials[trial]

    def _ask_again(self, trial: str) -> TrialRecord:
        """Log a new trial with the setting of `trial`. Its number gives it another seed."""
        log, params, again = self._session.log, self._records.trials[trial].params, self._next_id()
        log.append(Asked(time=log.now(), trial=again, params=params, source="retraining", retrains=trial))
        return self._records.trials[again]

    def _next_id(self) -> str:
        return f"{len(self._records.trials):04d}"

    def _given(self, number: int) -> dict[str, Scalar]:
        """Return the values that trial `number` must take: those of a baseline or of a grid point."""
        baselines = self._config.baselines
        if number < len(baselines):
            return dict(baselines[number])
        return {} if self._grid is None else self._grid[number - len(baselines)]

    def _warm_up(self) -> TuneTrial:
        """Return a trial without work. It starts an actor before the first real trial, which then reuses the actor."""
        self._warm_ups -= 1
        resources = self._config.resources
        return self._build(f"{WARM_UP}{self._warm_ups}", {"threads": 1}, Allowance(resources.cpu, resources.gpus))

    def _start(self, record: TrialRecord) -> TuneTrial:
        resources = self._config.resources
        allowance = Allowance(
            cpu=resources.cpu,
            gpu=resources.gpus if record.gpu is None else record.gpu,
            retries=self._config.failures.retries - record.counted_failures,
            progressed=record.progressed,
        )
        return self._build(record.id, self._worker_config(record), allowance)

    def _worker_config(self, record: TrialRecord) -> dict[str, object]:
        """Return the `config` of a trial's worker, see ray_worker.py."""
        session, config = self._session, self._config
        return {
            "trial": record.id,
            "spec": trial_spec(config, record),
            "sample_metrics": session.data.sample_metrics,
            "rungs": config.rungs[-1:] if record.retrains else config.rungs,
            "report_kimg": config.evaluation.report_kimg,
            "checkpoint_kimg": config.failures.checkpoint_kimg,
            "threads": threads(config),
            "folder": session.experiment.place(f"trials/{record.id}", config.storage),
            "checkpoints": session.checkpoints(record.id),
            "park_file": session.park_file,
        }

    def _build(self, name: str, worker_config: Mapping[str, object], allowance: Allowance) -> TuneTrial:
        self._with_tune.add(name)
        return TuneTrial(name, worker_config, self._tune_storage, allowance)

    # The rest of Tune's interface. Tune's own snapshots are off, because the log is the truth.
    @property
    def metric(self) -> str:
        """Name of the metric."""
        return self._session.metric

    @property
    def total_samples(self) -> int:
        """Number of trials in all."""
        return self._total + self._records.added

    def set_search_properties(self, *_: object, **__: object) -> bool:
        """Accept whatever Tune sets."""
        return True

    def add_configurations(self, experiments: object) -> None:
        """Do nothing: the searcher builds the trials."""

    def save_to_dir(self, dirpath: str, **_: object) -> None:
        """Do nothing: there is nothing to save."""

    def has_checkpoint(self, dirpath: str) -> bool:
        """Return False: Tune must not restore a searcher."""
        return False

    def __getstate__(self) -> dict[str, object]:
        return {}
