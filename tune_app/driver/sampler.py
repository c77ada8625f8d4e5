"""Optuna's samplers as the searcher uses them: seeded for each trial, and only for training-stage parameters."""

from __future__ import annotations

from collections.abc import Container, Sequence
from copy import copy
from random import Random
from typing import TYPE_CHECKING

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from search_spaces.distributions import Scalar
from search_spaces.space import Space
from search_spaces.to_optuna import distribution
from tune_app.config.schema import SweepConfig
from tune_app.experiment.events import EarlierTrial

if TYPE_CHECKING:
    from typing import Any

NON_FINITE = "non_finite"
"""User attribute of a trial in the study that ended with NaN or infinity."""
MOST_BEST, MOST_NEWEST = 100, 400
"""Numbers of best and of newest trials that a sampler sees of a long study."""


def make_sampler(config: SweepConfig, number: int, earlier: Sequence[FrozenTrial] = ()) -> optuna.samplers.BaseSampler:
    """Return a fresh sampler for trial `number`: its draws depend on the seed, the number and the history alone.

    The samplers see trials of `earlier` experiments in the study, see TrainingSampler. CMA-ES learns from trials that
    it has not proposed only if it starts with them (Nomura et al. 2021, arXiv:2012.06932).
    """
    seed = int(np.random.SeedSequence([config.search.seed, number]).generate_state(1)[0] % 2**31)
    startup = min(10 + len(config.baselines), max(4, config.search.trials // 3))
    match config.search.sampler:
        case "tpe":
            return optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup)
        case "gp":
            return optuna.samplers.GPSampler(seed=seed, n_startup_trials=startup)
        case "cmaes":
            return optuna.samplers.CmaEsSampler(seed=seed, source_trials=_sources(config.space, earlier) or None)
        case _:
            return optuna.samplers.RandomSampler(seed=seed)


def shuffled_grid(config: SweepConfig) -> list[dict[str, Scalar]]:
    """Return the points of the grid in an order that the seed fixes."""
    points = config.space.grid()
    Random(config.search.seed).shuffle(points)
    return points


def earlier_trials(config: SweepConfig, earlier: Sequence[EarlierTrial]) -> list[FrozenTrial]:
    """Return trials of earlier experiments for the sampler. Their numbers lie below 0, so they are the oldest."""
    known = {name: distribution(p) for name, p in config.space.training.items()}
    trials = []
    for position, one in enumerate(earlier):
        completed = one.state == "completed"
        trial = create_trial(
            state=TrialState.COMPLETE if completed else TrialState.PRUNED,
            params=dict(one.params),
            distributions={name: known[name] for name in one.params},
            values=one.rungs[-1][1:] if completed else None,
            intermediate_values={} if config.metrics else {round(rung[0] * 1000): rung[1] for rung in one.rungs},
        )
        trial.number = position - len(earlier)
        trials.append(trial)
    return trials


def _sources(space: Space, earlier: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the completed trials with those parameters alone that are proposed together."""
    together = _proposed_together(space)
    return [
        create_trial(params={name: trial.params[name] for name in together}, distributions=together, value=trial.value)
        for trial in earlier
        if trial.state is TrialState.COMPLETE
    ]


def _proposed_together(space: Space) -> dict[str, BaseDistribution]:
    always = {name: distribution(p) for name, p in space.training.items() if not p.when}
    return {name: known for name, known in sorted(always.items()) if not known.single()}


def _worst_value_for_non_finite(trials: list[FrozenTrial], directions: Sequence[StudyDirection]) -> list[FrozenTrial]:
    """Return the trials with those that ended non-finite as completed ones with the worst value so far.

    TPE ranks pruned trials below all others. The other samplers ignore them, and would propose their region again.
    """
    values = [trial.values[0] for trial in trials if trial.state is TrialState.COMPLETE]
    if not values or len(directions) > 1:
        return trials
    worst = max(values) if directions[0] is StudyDirection.MINIMIZE else min(values)
    return [_completed(trial, worst) if trial.user_attrs.get(NON_FINITE) else trial for trial in trials]


def _completed(trial: FrozenTrial, value: float) -> FrozenTrial:
    completed = copy(trial)
    completed.state, completed.value = TrialState.COMPLETE, value
    return completed


class TrainingSampler(optuna.samplers.BaseSampler):
    """Sampler of the training-stage parameters. It ignores finished trials' sampling-stage parameters.

    The space tells which parameters are proposed together. Optuna would look for them in every trial of the study, for
    each proposal. In a long study the sampler sees only the best and the newest trials, so proposals do not get slower.
    It also sees the trials of `earlier` experiments, which the study does not hold.
    """

    def __init__(
        self,
        inner: optuna.samplers.BaseSampler,
        space: Space,
        best: Sequence[int],
        earlier: Sequence[FrozenTrial] = (),
    ) -> None:
        self._inner, self._best = inner, best
        self._earlier = list(earlier)
        self._relative = _proposed_together(space)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the parameters that are proposed together."""
        del study, trial
        return self._relative

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return values of the parameters that are proposed together."""
        return self._inner.sample_relative(self._seen(study), trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Scalar:
        """Return the value of a conditional parameter."""
        value: Scalar = self._inner.sample_independent(self._seen(study), trial, param_name, param_distribution)
        return value

    def _seen(self, study: optuna.Study) -> optuna.Study:
        """Return the study with the trials that the sampler may see, as it needs them."""
        trials = visible = study._get_trials(deepcopy=False)
        if len(trials) > MOST_BEST + MOST_NEWEST:
            oldest = len(trials) - MOST_NEWEST
            visible = [trials[number] for number in sorted(self._best) if number < oldest] + trials[oldest:]
        visible = [*self._earlier, *visible]
        if not isinstance(self._inner, optuna.samplers.TPESampler):
            visible = _worst_value_for_non_finite(visible, study.directions)

        def get_trials(*_: object, states: Container[TrialState] | None = None, **__: object) -> list[FrozenTrial]:
            return [trial for trial in visible if states is None or trial.state in states]

        view = copy(study)
        view._get_trials = get_trials  # type: ignore[method-assign]
        return view
