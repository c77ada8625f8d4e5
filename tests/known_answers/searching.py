"""A sweep's search without its trials: our sampler, our space and our teller, and an objective in closed form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna

from search_spaces.to_optuna import suggest
from tune_app.config import SweepConfig, load
from tune_app.driver.searcher import _sampler
from tune_app.driver.study import OuterSampler, StudyTeller
from tune_app.experiment.log import Event

Params = Mapping[str, Any]
Objective = Callable[[Params], float]


class Asked:
    """A search as the log would tell of it: its events, and the parameters and value of each trial."""

    def __init__(self, config: SweepConfig) -> None:
        self.config = config
        self.events: list[Event] = []
        self.trials: list[tuple[Params, float]] = []
        study = optuna.create_study(storage=optuna.storages.InMemoryStorage())
        self._teller = StudyTeller(study, config.space, [config.metric.name])

    def replay(self, other: Asked) -> None:
        """Take over what another search did, from its events alone."""
        for event in other.events:
            self._tell(event)
        self.trials = [*other.trials]

    def ask(self) -> Params:
        """The parameters of the next trial."""
        config, number, study = self.config, len(self.trials), self._teller.study
        study.sampler = OuterSampler(_sampler(config, number), config.space, self._teller.best)
        if number < len(config.baselines):
            study.enqueue_trial(dict(config.baselines[number]))
        asked = study.ask()
        params = {**config.constants, **suggest(asked, config.space)}
        self._teller.adopt(f"{number:04d}", asked._trial_id)
        self._tell({"event": "asked", "trial": f"{number:04d}", "params": params, "source": "sampler"})
        return params

    def tell(self, params: Params, value: float, sampling: Params | None = None) -> None:
        """The trial of `params` ran to its end."""
        trial, kimg = f"{len(self.trials):04d}", self.config.scheduler.max_kimg
        metrics = {self.config.metric.name: value}
        reported = {"rung": True, "kimg": kimg, "metrics": metrics, "sampling": dict(sampling or {})}
        self._tell({"event": "reported", "trial": trial, **reported})
        self._tell({"event": "ended", "trial": trial, "state": "completed", "kimg": kimg, "metrics": metrics})
        self.trials.append((params, value))

    @property
    def best(self) -> Params:
        return min(self.trials, key=lambda trial: trial[1])[0]

    def _tell(self, event: Event) -> None:
        self.events.append(event)
        self._teller(event)


def searched(config: SweepConfig, objective: Objective) -> Asked:
    """Every trial of the search, one after the other."""
    found = Asked(config)
    while len(found.trials) < config.search.trials:
        params = found.ask()
        found.tell(params, objective(params))
    return found


def space(folder: Path, text: str, **set_: Any) -> SweepConfig:
    """The configuration of a space file that says `text`."""
    path = folder / "a space.yaml"
    path.write_text(text)
    return load(path, set=set_)
