"""The same seed proposes the same trials, in a new search and after a replay of the log."""

from __future__ import annotations

from math import log

import pytest

from tests.known_answers.searching import Params, Search, searched
from tune_app.config import SweepConfig, load

pytestmark = [
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Ray's own, when it is imported
]
TRIALS = 16
SPACES = {"ncsn": {"sigma_begin", "sigma_end", "num_scales", "lr"}, "beta_vae": {"beta", "latent_dim", "lr"}}


def config(model: str, seed: int, sampler: str = "tpe") -> SweepConfig:
    """Return the shipped configuration."""
    return load(f"{model}_space.yaml", set={"search.trials": TRIALS, "search.sampler": sampler, "search.seed": seed})


def value(params: Params) -> float:
    return sum(
        abs(log(float(params[name])) + 2) for name in ("lr", "beta", "latent_dim", "sigma_end") if name in params
    )


@pytest.mark.parametrize("sampler", ["tpe", "random", "cmaes"])
@pytest.mark.parametrize("model", ["ncsn", "beta_vae"])
def test_a_seed_fixes_every_suggestion_and_another_gives_others(model: str, sampler: str) -> None:
    first, again, other = (searched(config(model, seed, sampler), value).trials for seed in (7, 7, 8))
    baselines = len(config(model, 7).baselines)
    assert first == again
    assert first[:baselines] == other[:baselines]
    for (mine, _), (theirs, _) in zip(first[baselines:], other[baselines:], strict=True):
        assert all(mine[name] != theirs[name] for name in SPACES[model] - {"num_scales", "latent_dim"})


@pytest.mark.parametrize("model", ["ncsn", "beta_vae"])
def test_only_training_parameters_are_proposed_each_within_its_range(model: str) -> None:
    here = config(model, seed=0)
    for params, _ in searched(here, value).trials:
        assert params.keys() - here.constants.keys() == SPACES[model]
        for name in SPACES[model]:
            assert here.parameters[name].complaint(params[name]) is None


@pytest.mark.parametrize("done", [0, 2, 11])
@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_search_goes_on_from_its_log_as_if_it_had_never_stopped(sampler: str, done: int) -> None:
    whole = searched(config("ncsn", 3, sampler), value)
    begun = Search(config("ncsn", 3, sampler))
    for _ in range(done):
        params = begun.ask()
        begun.tell(params, value(params))
    resumed = Search(config("ncsn", 3, sampler))
    resumed.replay(begun)
    for _ in range(TRIALS - done):
        params = resumed.ask()
        resumed.tell(params, value(params))
    assert resumed.trials == whole.trials


def test_a_sampling_setting_told_late_does_not_disturb_the_search() -> None:
    """A finished trial also has the inner search's step. It must not change the parameters that are proposed next."""
    found = Search(config("ncsn", 0))
    for number in range(TRIALS):
        params = found.ask()
        assert params.keys() - config("ncsn", 0).constants.keys() == SPACES["ncsn"]
        found.tell(params, value(params), {"step_size": 2.0 + number / 10})
    kept = [trial.params.keys() for trial in found._writer.study.trials]
    assert all(names == SPACES["ncsn"] | {"step_size"} for names in kept)
