"""The specification of a trial: its own seed, and what all trials of a sweep share."""

from __future__ import annotations

import pytest

from search_spaces.distributions import Scalar
from tune_app.config.load import load
from tune_app.driver.trial_spec import trial_seed, trial_spec
from tune_app.experiment.records import TrialRecord


def test_every_trial_has_a_seed_of_its_own_and_all_share_that_of_the_sweep() -> None:
    config = load("ncsn_space.yaml", profile="laptop", set={"search.seed": 7})
    specs = [trial_spec(config, TrialRecord(f"{number:04d}", {"lr": 1e-3}, "sampler")) for number in range(200)]
    assert len({spec.seed for spec in specs}) == 200
    assert {spec.common_seed for spec in specs} == {7}
    assert [spec.seed for spec in specs[:2]] == [trial_seed(7, 0), trial_seed(7, 1)]


def test_two_sweeps_share_no_seed() -> None:
    seeds = {trial_seed(seed, number) for seed in range(20) for number in range(50)}
    assert len(seeds) == 1000


def test_a_trial_takes_its_own_parameters_then_fixed_ones_then_defaults() -> None:
    config = load("ncsn_space.yaml", profile="laptop")
    spec = trial_spec(config, TrialRecord("0000", {"lr": 2e-3, "num_scales": 12}, "sampler"))
    assert (spec.params["lr"], spec.params["num_scales"]) == (2e-3, 12)
    assert (spec.params["width"], spec.params["clip"]) == (32, 1.0)
    assert {len(spec.sampling), len(spec.final_sampling)} == {3, 5}


@pytest.mark.parametrize(
    ("known", "samplers"),
    [
        ({}, {"langevin", "heun"}),
        ({"conditioning": "sigma"}, {"langevin"}),
        ({"arch": "refinenet"}, {"langevin"}),
    ],
)
def test_only_a_network_that_takes_any_noise_level_is_sampled_by_heuns_method(
    known: dict[str, Scalar], samplers: set[str]
) -> None:
    config = load("ncsn_space.yaml", set={"resources.gpu": 0})
    config = config.model_copy(update={"fixed": {**config.fixed, **known}})
    spec = trial_spec(config, TrialRecord("0000", {}, "sampler"))
    for settings in (spec.sampling, spec.final_sampling):
        assert {setting["sampler"] for setting in settings} == samplers
