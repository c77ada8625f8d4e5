"""Events told to an Optuna study: one record a trial, in the state it really has.

A trial stopped by ASHA is told as PRUNED with its rung values, not COMPLETE: a KID at 1 kimg must not compete with one
at 20. A failed one is FAIL, one that reached max_kimg COMPLETE. The study can be lost and made again from the log.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Container, Iterable, Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from search_spaces.space import Space
from search_spaces.to_optuna import distribution
from trainables.catalog import sign
from tune_app.experiment.folder import Experiment
from tune_app.experiment.log import Event

BEST, NEWEST = 100, 400
"""Trials of a long history that a sampler sees."""
STATES = {"completed": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "failed": TrialState.FAIL}


class StudyTeller:
    """Listener that keeps an Optuna study equal to the log; trial n of the log is trial n of the study."""

    def __init__(self, study: optuna.Study, space: Space, metrics: Sequence[str]) -> None:
        self.study = study
        self._storage = study._storage
        self._distributions = {name: distribution(p) for name, p in space.parameters.items()}
        self._sampling = set(space.sampling)
        self._metrics = list(metrics)
        self._ids: dict[str, int] = {}
        self._last: dict[str, Event] = {}
        self._best: list[tuple[float, int]] = []

    @property
    def best(self) -> list[int]:
        """Numbers of the completed trials that are best by the first metric, at most BEST, the best first."""
        return [number for _, number in self._best]

    def __call__(self, event: Event) -> None:
        if event["event"] == "asked":
            self._asked(event)
        elif event["event"] == "reported" and event["rung"]:
            self._reported(event)
        elif event["event"] == "ended":
            self._ended(event)

    def adopt(self, trial: str, trial_id: int) -> None:
        """The study itself proposed `trial`: when the log tells of it, it is there already."""
        self._ids[trial] = trial_id

    def _asked(self, event: Event) -> None:
        if event["trial"] in self._ids:
            return
        searched = {
            name: value
            for name, value in event["params"].items()
            if name in self._distributions and name not in self._sampling
        }
        template = create_trial(
            state=TrialState.RUNNING,
            params=searched,
            distributions={name: self._distributions[name] for name in searched},
            user_attrs={"trial": event["trial"], "source": event["source"]},
        )
        self._ids[event["trial"]] = self._storage.create_new_trial(self.study._study_id, template_trial=template)

    def _reported(self, event: Event) -> None:
        self._last[event["trial"]] = event
        value = event["metrics"].get(self._metrics[0])
        if value is not None and len(self._metrics) == 1:  # of two objectives Optuna takes no intermediate values
            # the step of an intermediate value is an int: images, not kimg
            self._storage.set_trial_intermediate_value(self._ids[event["trial"]], round(event["kimg"] * 1000), value)

    def _ended(self, event: Event) -> None:
        trial_id, last = self._ids[event["trial"]], self._last.pop(event["trial"], None)
        for name, value in (last or {}).get("sampling", {}).items():
            if name in self._sampling:  # the inner search's best value, given to the trial late
                known = self._distributions[name]
                self._storage.set_trial_param(trial_id, name, known.to_internal_repr(value), known)
        values = [last["metrics"].get(metric) if last else None for metric in self._metrics]
        state = STATES[event["state"]]
        known_values = [value for value in values if value is not None]
        if state is TrialState.COMPLETE and len(known_values) < len(values):
            state = TrialState.FAIL
        if state is TrialState.PRUNED and len(values) > 1:  # nor a trial that is neither whole nor lost
            state = TrialState.FAIL
        self._storage.set_trial_state_values(trial_id, state, known_values if state is TrialState.COMPLETE else None)
        if state is TrialState.COMPLETE:
            insort(self._best, (sign(self._metrics[0]) * known_values[0], int(event["trial"])))
            del self._best[BEST:]


class OuterSampler(optuna.samplers.BaseSampler):
    """A sampler that proposes training-stage parameters only, though finished trials carry sampling-stage ones too.

    What is proposed together is known beforehand: a sampler would look for it in every trial of the study, each time.
    Of a long study it sees the best and the newest trials, so that a proposal costs as much at the end as early on.
    """

    def __init__(self, inner: optuna.samplers.BaseSampler, space: Space, best: Sequence[int]) -> None:
        self._inner, self._best = inner, best
        always = {name: distribution(p) for name, p in space.training.items() if not p.when}
        self._together = {name: found for name, found in sorted(always.items()) if not found.single()}

    def infer_relative_search_space(
        self, study: optuna.Study, trial: optuna.trial.FrozenTrial
    ) -> dict[str, BaseDistribution]:
        del study, trial
        return self._together

    def sample_relative(
        self, study: optuna.Study, trial: optuna.trial.FrozenTrial, search_space: Any
    ) -> dict[str, Any]:
        return self._inner.sample_relative(self._shortened(study), trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: optuna.trial.FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        return self._inner.sample_independent(self._shortened(study), trial, param_name, param_distribution)

    def _shortened(self, study: optuna.Study) -> optuna.Study:
        """The study as a sampler is to see it."""
        trials = study._get_trials(deepcopy=False)
        if len(trials) <= BEST + NEWEST:
            return study
        oldest = len(trials) - NEWEST
        kept = [trials[number] for number in sorted(self._best) if number < oldest] + trials[oldest:]

        def get_trials(*_: Any, states: Container[TrialState] | None = None, **__: Any) -> list[FrozenTrial]:
            return [trial for trial in kept if states is None or trial.state in states]

        view = copy(study)
        view._get_trials = get_trials  # type: ignore[method-assign]
        return view


def rebuild(
    experiment: Experiment, name: str, events: Iterable[Event], space: Space, metrics: Sequence[str]
) -> StudyTeller:
    """The experiment's study made anew from the log, without the zombies of a dead driver; and its teller."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    buffer = _Buffer()
    teller = StudyTeller(_study(buffer, name, metrics), space, metrics)
    for event in events:
        teller(event)
    experiment.study.unlink(missing_ok=True)
    Path(f"{experiment.study}.lock").unlink(missing_ok=True)  # of a driver that was killed
    journal = JournalFileBackend(str(experiment.study))
    journal.append_logs(buffer.logs)  # in one piece: an event at a time would take minutes for thousands of trials
    live = StudyTeller(_study(journal, name, metrics), space, metrics)
    live._ids, live._last, live._best = (
        teller._ids,
        teller._last,
        teller._best,
    )  # trial ids are positions in the journal: the same in both
    return live


class _Buffer(BaseJournalBackend):
    """A journal in memory."""

    def __init__(self) -> None:
        self.logs: list[dict[str, Any]] = []

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        return iter(self.logs[log_number_from:])

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self.logs.extend(logs)


def _study(journal: BaseJournalBackend, name: str, metrics: Sequence[str]) -> optuna.Study:
    directions = [StudyDirection.MINIMIZE if sign(metric) > 0 else StudyDirection.MAXIMIZE for metric in metrics]
    storage = JournalStorage(journal)
    return optuna.create_study(storage=storage, study_name=name, directions=directions, load_if_exists=True)
