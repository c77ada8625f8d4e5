"""A search without training: our sampler, space and study, with an objective in closed form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from pathlib import Path
from typing import Any

import optuna

from search_spaces.to_optuna import suggest
from tests.events import asked, at, changed, ended, reported
from tune_app.config import SweepConfig, load
from tune_app.driver.sampler import TrainingSampler, make_sampler
from tune_app.driver.study import StudyWriter
from tune_app.experiment.events import Event

Params = Mapping[str, Any]
Objective = Callable[[Params], float]


class Search:
    """A search with its events and the parameters and value of each trial."""

    def __init__(self, config: SweepConfig) -> None:
        self.config = config
        self.events: list[Event] = []
        self.trials: list[tuple[Params, float]] = []
        study = optuna.create_study(storage=optuna.storages.InMemoryStorage())
        self._writer = StudyWriter(study, config.space, [config.metric.name], config.constants)

    def replay(self, other: Search) -> None:
        """Take over the trials of another search from its events."""
        for event in other.events:
            self._apply(event)
        self.trials = [*other.trials]

    def ask(self) -> Params:
        """Return the parameters of the next trial."""
        config, number, study = self.config, len(self.trials), self._writer.study
        study.sampler = TrainingSampler(make_sampler(config, number), config.space, self._writer.best)
        if number < len(config.baselines):
            study.enqueue_trial(dict(config.baselines[number]))
        proposed = study.ask()
        params = {**config.constants, **suggest(proposed, config.space)}
        self._writer.adopt(f"{number:04d}", proposed._trial_id)
        self._apply(asked(f"{number:04d}", **params))
        return params

    def tell(self, params: Params, value: float, sampling: Params | None = None) -> None:
        """End the trial of `params` with `value`."""
        trial, kimg = f"{len(self.trials):04d}", self.config.scheduler.max_kimg
        report = reported(trial, kimg, "stop", **{self.config.metric.name: value})
        self._apply(changed(report, sampling=dict(sampling or {})))
        self._apply(ended(trial, kimg=kimg))
        self.trials.append((params, value))

    def fail(self, params: Params) -> None:
        """End the trial of `params` with a loss that is not finite."""
        trial = f"{len(self.trials):04d}"
        self._apply(at(0, "failed", trial=trial, kind="non_finite", message="loss became nan", retry=False))
        self._apply(ended(trial, "failed", "non_finite"))
        self.trials.append((params, inf))

    @property
    def best(self) -> Params:
        return min(self.trials, key=lambda trial: trial[1])[0]

    def _apply(self, event: Event) -> None:
        self.events.append(event)
        self._writer(event)


def searched(config: SweepConfig, objective: Objective) -> Search:
    """Return a search that has run all its trials."""
    search = Search(config)
    while len(search.trials) < config.search.trials:
        params = search.ask()
        search.tell(params, objective(params))
    return search


def space(folder: Path, text: str, **set_: Any) -> SweepConfig:
    """Return the configuration of a space file with the content `text`."""
    path = folder / "a space.yaml"
    path.write_text(text)
    return load(path, set=set_)
