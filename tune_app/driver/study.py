"""The Optuna study, written from the log: one Optuna trial for each trial, in its real state.

A trial stopped by ASHA is PRUNED with its rung values, not COMPLETE: a KID at 1 kimg must not compete with one at 20.
A failed trial is FAIL, one that reached max_kimg is COMPLETE. A baseline that changes what is not searched is FAIL too,
because it lies outside the space. A lost study is rebuilt from the log.
"""

from __future__ import annotations

import json
from bisect import insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from search_spaces.distributions import Scalar
from search_spaces.space import Space
from search_spaces.to_optuna import distribution
from trainables.catalog import sign
from tune_app.config.schema import SweepConfig
from tune_app.driver.sampler import MOST_BEST, NON_FINITE
from tune_app.experiment.elsewhere import lies_elsewhere
from tune_app.experiment.events import Asked, Ended, Event, Reported
from tune_app.experiment.folder import Experiment

STATES = {"completed": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "failed": TrialState.FAIL}


class StudyWriter:
    """Log listener that keeps an Optuna study equal to the log: trial n of the search is trial n of the study."""

    def __init__(
        self,
        study: optuna.Study,
        space: Space,
        metrics: Sequence[str],
        constants: Mapping[str, Scalar],
        journal: MemoryJournal | None = None,
    ) -> None:
        self.study = study
        self._journal = journal
        self._constants = constants
        self._elsewhere: set[str] = set()
        """Baselines with other values of parameters that are not searched. They would mislead the sampler."""
        self._storage = study._storage
        self._distributions = {name: distribution(p) for name, p in space.parameters.items()}
        self._sampling = space.sampling
        self._metrics = list(metrics)
        self._ids: dict[str, int] = {}
        self._last_rung: dict[str, Reported] = {}
        self._best: list[tuple[float, int]] = []

    @property
    def ids(self) -> Mapping[str, int]:
        """Optuna's id of each trial of the search."""
        return self._ids

    @property
    def best(self) -> list[int]:
        """Numbers of the MOST_BEST best completed trials by the first metric, the best first."""
        return [number for _, number in self._best]

    def __call__(self, event: Event) -> None:
        """Write one event. A setting that is trained again is no new proposal, so the study does not hold it."""
        if self._journal:
            self._journal.time = _utc(event.time)
        match event:
            case Asked(retrains=None):
                if lies_elsewhere(event.params, self._constants):
                    self._elsewhere.add(event.trial)
                self._write_asked(event)
            case Reported(rung=True) if event.trial in self._ids:
                self._write_report(event)
            case Ended() if event.trial in self._ids:
                self._write_end(event)

    def adopt(self, trial: str, trial_id: int) -> None:
        """Remember that the study itself proposed `trial`, so it is already there when the log names it."""
        self._ids[trial] = trial_id

    def take_over(self, other: StudyWriter) -> None:
        """Continue where `other` stopped. Trial ids are positions in the journal, so both studies have the same."""
        self._ids, self._last_rung, self._best = other._ids, other._last_rung, other._best
        self._elsewhere = other._elsewhere

    def _write_asked(self, asked: Asked) -> None:
        if asked.trial in self._ids:
            return
        searched = {
            name: value
            for name, value in asked.params.items()
            if name in self._distributions and name not in self._sampling
        }
        template = create_trial(
            state=TrialState.RUNNING,
            params=searched,
            distributions={name: self._distributions[name] for name in searched},
            user_attrs={"trial": asked.trial, "source": asked.source},
        )
        template.datetime_start = _utc(asked.time)
        self._ids[asked.trial] = self._storage.create_new_trial(self.study._study_id, template_trial=template)

    def _write_report(self, report: Reported) -> None:
        self._last_rung[report.trial] = report
        value = report.metrics.get(self._metrics[0])
        if value is not None and len(self._metrics) == 1:  # Optuna has no intermediate values for two objectives
            # the step of an intermediate value must be an int: images, not kimg
            self._storage.set_trial_intermediate_value(self._ids[report.trial], round(report.kimg * 1000), value)

    def _write_end(self, end: Ended) -> None:
        trial_id, last = self._ids[end.trial], self._last_rung.pop(end.trial, None)
        for name, sampled in (last.sampling if last else {}).items():
            # The best value of the inner search is known only now. Version 0.1 logged the value that was used, which
            # need not be one of the choices.
            if name in self._sampling and self._sampling[name].complaint(sampled) is None:
                known = self._distributions[name]
                self._storage.set_trial_param(trial_id, name, known.to_internal_repr(sampled), known)
        values = [value for metric in self._metrics if last and (value := last.metrics.get(metric)) is not None]
        state = STATES[end.state]
        if end.reason == "non_finite":  # samplers rank it below all others (see sampler.py), but ignore a failed one
            state = TrialState.PRUNED
            self._storage.set_trial_user_attr(trial_id, NON_FINITE, True)
        if (state is TrialState.COMPLETE and len(values) < len(self._metrics)) or end.trial in self._elsewhere:
            state = TrialState.FAIL
        if state is TrialState.PRUNED and len(self._metrics) > 1:  # multi-objective studies cannot hold pruned trials
            state = TrialState.FAIL
        self._storage.set_trial_state_values(trial_id, state, values if state is TrialState.COMPLETE else None)
        if state is TrialState.COMPLETE:
            number = self._storage.get_trial(trial_id).number
            insort(self._best, (sign(self._metrics[0]) * values[0], number))
            del self._best[MOST_BEST:]


def rebuild_study(experiment: Experiment, config: SweepConfig, events: Iterable[Event]) -> StudyWriter:
    """Write the experiment's study anew from the log, and return its writer. Raise OSError if it cannot be written."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    buffer = MemoryJournal()
    replay = _writer(buffer, config)
    for event in events:
        replay(event)
    experiment.study.unlink(missing_ok=True)
    Path(f"{experiment.study}.lock").unlink(missing_ok=True)  # a driver that was killed leaves it behind
    journal = StudyFile(experiment.study)
    journal.append_logs(buffer.logs)  # all at once: one event at a time takes minutes for thousands of trials
    writer = _writer(journal, config)
    writer.take_over(replay)
    return writer


def study_in_memory(config: SweepConfig) -> StudyWriter:
    """Return the writer of an empty study that is not on disk."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return _writer(MemoryJournal(), config)


class StudyFile(BaseJournalBackend):
    """A journal file with one writer. It is neither locked nor flushed to disk: a resume writes it anew."""

    def __init__(self, path: Path) -> None:
        self._path, self._reader = path, JournalFileBackend(str(path))

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        return iter(self._reader.read_logs(log_number_from))

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        with self._path.open("ab") as file:
            file.write("".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode())


class MemoryJournal(BaseJournalBackend):
    """A journal in memory. A trial that ends gets the time of the event, not that at which the log is read again."""

    def __init__(self) -> None:
        self.logs: list[dict[str, Any]] = []
        self.time: datetime | None = None

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        return iter(self.logs[log_number_from:])

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        for log in logs:
            if self.time and "datetime_complete" in log:
                log["datetime_complete"] = self.time.isoformat(timespec="microseconds")
        self.logs.extend(logs)


def _utc(time: str) -> datetime:
    return datetime.fromisoformat(time).astimezone(timezone.utc)


def _writer(journal: BaseJournalBackend, config: SweepConfig) -> StudyWriter:
    metrics = [objective.name for objective in config.objectives]
    directions = [StudyDirection.MINIMIZE if sign(metric) > 0 else StudyDirection.MAXIMIZE for metric in metrics]
    study = optuna.create_study(
        storage=JournalStorage(journal), study_name=config.name, directions=directions, load_if_exists=True
    )
    memory = journal if isinstance(journal, MemoryJournal) else None
    return StudyWriter(study, config.space, metrics, config.constants, memory)
