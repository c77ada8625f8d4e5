"""Parameters without influence get no importance: the sampling step for a likelihood, a dummy for any metric."""

from __future__ import annotations

from collections.abc import Callable
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.events import changed, reported
from tests.known_answers.searching import Params, Search, searched, space
from tune_app.answer.importance import Share, importances
from tune_app.config import SweepConfig
from tune_app.experiment.events import Reported
from tune_app.experiment.records import TrialRecord

pytestmark = [
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Ray's own, when it is imported
]
SPACE = """
version: 1
name: irrelevance
model: ncsn
metric: {name: METRIC}
parameters:
  sigma_begin: {type: float, low: 1.0, high: 50.0, log: true}
  sigma_end: {type: float, low: 0.005, high: 0.05, log: true}
  clip: {type: float, low: 0.5, high: 5.0, log: true}
  step_size: {type: float, low: 1.5, high: 20.0, log: true, stage: sampling}
search: {trials: 60, sampler: SAMPLER}
"""
DUMMY = "clip"


def bpd(params: Params) -> float:
    """Return a likelihood that falls with sigma_end and is best at sigma_begin 2.5. Step and dummy do nothing."""
    return 5 + log(params["sigma_end"] / 0.005) / 3 + 0.3 * log(params["sigma_begin"] / 2.5) ** 2


def kid(params: Params) -> float:
    """Return a value that is best at a step of 5 and slightly better with a large sigma_begin."""
    return 0.1 + log(params["step_size"] / 5) ** 2 - 0.02 * log(params["sigma_begin"])


def tried(config: SweepConfig, number: int) -> Params:
    """Return one of the five steps that an evaluation tries, drawn by the trial."""
    values = config.space.sampling["step_size"].midpoints(5)
    return {"step_size": values[np.random.default_rng(number).integers(5)]}


def record(config: SweepConfig, number: int, params: Params, value: float) -> TrialRecord:
    at_end = reported(f"{number:04d}", 9.0, "stop", **{config.metric.name: value})
    report = changed(at_end, sampling=dict(tried(config, number)))
    assert isinstance(report, Reported)
    return TrialRecord(f"{number:04d}", dict(params), "sampler", state="completed", reports=[report])


def ruined(params: Params) -> float:
    """Return the same value, but a large dummy makes the trial the worst of all."""
    return kid(params) + 10 * (params[DUMMY] > 4)


def swept(folder: Path, metric: str, sampler: str, value: Callable[[Params], float]) -> dict[str, Share]:
    """Return the importances from the completed trials of a search on `metric`."""
    config = space(folder, SPACE.replace("METRIC", metric).replace("SAMPLER", sampler))
    found: Any = Search(config)
    while len(found.trials) < config.search.trials:
        params, sampling = found.ask(), tried(config, len(found.trials))
        found.tell(params, value({**params, **sampling}), sampling)
    records = [record(config, number, params, told) for number, (params, told) in enumerate(found.trials)]
    shares = importances(config, records)
    assert shares is not None
    assert shares.keys() == config.parameters.keys()
    return shares


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_the_step_is_no_more_important_to_likelihood_than_a_dummy(folder: Path, sampler: str) -> None:
    found = swept(folder, "bpd", sampler, bpd)
    assert found["step_size"].share < max(0.2, found["step_size"].chance)
    assert {*list(found)[:2]} == {"sigma_begin", "sigma_end"}


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_the_step_is_the_most_important_to_samples_and_the_dummy_stays_below(folder: Path, sampler: str) -> None:
    found = swept(folder, "kid", sampler, kid)
    shares = found
    assert next(iter(shares)) == "step_size"
    assert shares["step_size"].share > shares["step_size"].chance
    assert shares["step_size"].share - shares["step_size"].sd > shares[DUMMY].share + shares[DUMMY].sd
    assert shares[DUMMY].share < 0.2


def test_what_ruins_a_few_trials_is_not_what_makes_the_good_ones(folder: Path) -> None:
    found = swept(folder, "kid", "random", ruined)
    assert next(iter(found)) == "step_size"
    assert found["step_size"].share > 2 * found[DUMMY].share


def test_a_search_is_not_led_astray_by_a_parameter_that_decides_nothing(folder: Path) -> None:
    config = space(folder, SPACE.replace("METRIC", "bpd").replace("SAMPLER", "tpe"))
    best = searched(config, bpd).best
    assert best["sigma_end"] < 0.007
    assert 1.5 < best["sigma_begin"] < 4.5
