"""The samplers: the trials that they learn from, and the points that a seed determines."""

from __future__ import annotations

from random import Random
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from search_spaces.to_optuna import suggest
from tune_app.config.load import load
from tune_app.driver.sampler import TrainingSampler, earlier_trials, make_sampler
from tune_app.experiment.events import EarlierTrial

pytestmark = pytest.mark.filterwarnings("ignore")  # Optuna's about experimental samplers, Ray's at import


class Watching(optuna.samplers.RandomSampler):
    """A sampler that remembers the trials that it could learn from."""

    seen: list[FrozenTrial]

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: Any) -> dict[str, Any]:
        self.seen = study._get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        return super().sample_relative(study, trial, search_space)


def test_a_sampler_sees_the_best_and_the_newest_trials_of_a_long_study(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tune_app.driver.sampler.MOST_BEST", 3)
    monkeypatch.setattr("tune_app.driver.sampler.MOST_NEWEST", 7)
    space, inner = load("branin_space.yaml").space, Watching(seed=0)
    study = optuna.create_study(sampler=TrainingSampler(inner, space, best=[2, 0, 25]))
    known = {name: FloatDistribution(low, high) for name, low, high in (("x1", -5.0, 10.0), ("x2", 0.0, 15.0))}
    for count, seen in ((9, 9), (20, 8)):
        for _ in range(count):
            params = {"x1": 0.0, "x2": 0.0}
            study.add_trial(create_trial(value=float(len(study.trials)), params=params, distributions=known))
        suggest(study.ask(), space)
        assert len(inner.seen) == seen  # the trial being asked for is one of the ten
    numbers = [trial.number for trial in inner.seen]
    assert numbers == sorted(numbers)
    assert numbers == [0, 2, *range(24, 30)]


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes"])
def test_earlier_trials_inform_the_first_proposals_and_are_not_in_the_study(sampler: str) -> None:
    config = load("branin_space.yaml", set={"search.sampler": sampler, "search.trials": 30})
    rng = Random(0)
    points = [{"x1": rng.uniform(-5, 10), "x2": rng.uniform(0, 15)} for _ in range(60)]
    earlier = earlier_trials(
        config, [one_earlier(point, abs(point["x1"] - 8) + abs(point["x2"] - 3)) for point in points]
    )

    def distance(known: list[FrozenTrial]) -> float:
        """Return how far the mean of the first proposals is from the best point of the earlier experiment."""
        study, asked = optuna.create_study(), []
        for number in range(8):
            study.sampler = TrainingSampler(make_sampler(config, number, known), config.space, [], known)
            asked.append(suggest(study.ask(), config.space))
        assert len(study.trials) == 8
        return sum(abs(float(point["x1"]) - 8) + abs(float(point["x2"]) - 3) for point in asked) / 8

    assert distance(earlier) < 0.6 * distance([])


def test_a_stopped_earlier_trial_is_pruned_and_all_are_older_than_the_study() -> None:
    config = load("branin_space.yaml")
    point = {"x1": 1.0, "x2": 2.0}
    stopped = one_earlier(point, 5.0).model_copy(update={"state": "stopped", "rungs": [[3.0, 7.0], [9.0, 5.0]]})
    first, second = earlier_trials(config, [stopped, one_earlier(point, 1.0)])
    assert (first.state, first.intermediate_values) == (TrialState.PRUNED, {3000: 7.0, 9000: 5.0})
    assert (second.state, second.value) == (TrialState.COMPLETE, 1.0)
    assert (first.number, second.number) == (-2, -1)


def one_earlier(params: dict[str, float], value: float) -> EarlierTrial:
    fields = {"experiment": "/night", "trial": "0000", "state": "completed", "params": params, "rungs": [[27.0, value]]}
    return EarlierTrial.model_validate(fields)


@pytest.mark.parametrize("sampler", ["random", "tpe", "gp", "cmaes"])
def test_every_sampler_proposes_points_that_its_seed_fixes(sampler: str) -> None:
    def points(seed: int) -> list[tuple[float, float]]:
        config = load("branin_space.yaml", set={"search.sampler": sampler, "search.seed": seed, "search.trials": 8})
        study = optuna.create_study()
        for number in range(8):
            study.sampler = TrainingSampler(make_sampler(config, number), config.space, best=[])
            trial = study.ask()
            point = suggest(trial, config.space)
            study.tell(trial, float(point["x1"]) ** 2 + float(point["x2"]))
        return [(trial.params["x1"], trial.params["x2"]) for trial in study.trials]

    assert len(set(points(0))) == 8
    assert points(0) == points(0)
    assert points(0) != points(1)
