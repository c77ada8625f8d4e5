"""Importance of each searched parameter, with its standard deviation."""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from math import isfinite

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, create_trial

from search_spaces.distributions import Scalar
from search_spaces.to_optuna import distribution
from trainables.catalog import sign
from tune_app.config.schema import SweepConfig
from tune_app.experiment.elsewhere import lies_elsewhere
from tune_app.experiment.records import TrialRecord

LEAST_TRIALS = 8
GOOD_TRIALS = 5
DUMMIES = 40
"""Random columns that show what share chance alone reaches."""
CHANCE = 0.95
DUMMY = "random column"


@dataclass(frozen=True)
class Share:
    """A parameter's share of importance, and its standard deviation over bootstrap draws."""

    share: float
    sd: float


@dataclass(frozen=True)
class Importances:
    """Shares of the searched parameters, which add up to 1, and what they are worth."""

    shares: dict[str, Share]
    """The largest first."""
    chance: float
    """Share that a parameter without any effect exceeds in 5 of 100 sweeps. Below it, nothing is claimed."""


def importances(config: SweepConfig, records: Iterable[TrialRecord], *, rounds: int = 20) -> Importances | None:
    """Return each parameter's share of importance by PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255).

    The shares are those of all completed trials, their standard deviations those over `rounds` bootstrap draws. Leave
    out a parameter that took one value, or whose `when` held in fewer than LEAST_TRIALS trials. Return None if too few
    trials completed or all ended alike.
    """
    inside = [record for record in records if not lies_elsewhere(record.params, config.constants)]
    measured = [(_params(config, record), value) for record in inside if (value := _value(config, record)) is not None]
    if len(measured) < LEAST_TRIALS or len({value for _, value in measured}) == 1:
        return None
    varied = [name for name in config.parameters if _varies([params[name] for params, _ in measured if name in params])]
    if not varied:
        return Importances({}, 1.0)
    rng = np.random.default_rng(config.search.seed)
    with _quiet():
        known = {name: distribution(config.parameters[name]) for name in varied}
        study = _study(known, measured)
        trials = study.get_trials(deepcopy=False)
        plain = _by_parameter(study, trials, varied)
        total = sum(plain.values()) or 1.0
        draws = [[trials[i] for i in rng.integers(len(trials), size=len(trials))] for _ in range(rounds)]
        resampled = [_by_parameter(study, draw, varied) for draw in draws]
        values = [value for _, value in measured]
        dummies = [_of_a_random_column(rng.random(len(values)).tolist(), values) for _ in range(DUMMIES)]
    sums = [sum(one.values()) or 1.0 for one in resampled]
    sd = {name: float(np.std([one[name] / s for one, s in zip(resampled, sums, strict=True)])) for name in varied}
    order = sorted(varied, key=lambda name: -plain[name])
    chance = float(np.quantile(dummies, CHANCE)) / total
    return Importances({name: Share(plain[name] / total, sd[name]) for name in order}, chance)


def _value(config: SweepConfig, record: TrialRecord) -> float | None:
    """Return the final value of a completed trial; lower is better."""
    value = record.rungs[-1].metrics.get(config.metric.name) if record.state == "completed" and record.rungs else None
    return None if value is None or not isfinite(value) else value * sign(config.metric.name)


def _params(config: SweepConfig, record: TrialRecord) -> dict[str, Scalar]:
    """Return the searched parameters, with the best sampling setting of the last rung."""
    chosen = record.rungs[-1].sampling
    given = {**record.params, **{name: chosen[name] for name in config.space.sampling if name in chosen}}
    # A sampling setting is logged as it was used. It may lie outside the range, where Optuna refuses it.
    return {
        name: given[name] for name, p in config.parameters.items() if name in given and not p.complaint(given[name])
    }


def _varies(values: list[Scalar]) -> bool:
    return len(values) >= LEAST_TRIALS and len(set(values)) > 1


def _study(
    known: Mapping[str, BaseDistribution], measured: Iterable[tuple[Mapping[str, Scalar], float]]
) -> optuna.Study:
    study = optuna.create_study(storage=optuna.storages.InMemoryStorage(), direction="minimize")
    for params, value in measured:
        here = {name: params[name] for name in known if name in params}
        study.add_trial(create_trial(params=here, distributions={name: known[name] for name in here}, value=value))
    return study


def _of_a_random_column(column: Sequence[float], values: Sequence[float]) -> float:
    """Return the importance of a parameter that has nothing to do with the values."""
    known: dict[str, BaseDistribution] = {DUMMY: FloatDistribution(0.0, 1.0)}
    study = _study(known, [({DUMMY: one}, value) for one, value in zip(column, values, strict=True)])
    return _by_parameter(study, study.get_trials(deepcopy=False), [DUMMY])[DUMMY]


def _by_parameter(study: optuna.Study, drawn: list[FrozenTrial], names: Iterable[str]) -> dict[str, float]:
    """Return the importances by the trials of one draw. A trial that was drawn twice counts twice."""
    view = copy(study)  # making a study for each draw takes several times as long
    view.get_trials = lambda *_, **__: drawn  # type: ignore[method-assign]
    # Optuna's default of a tenth is one trial of eight, too few to estimate a density; five or more are needed. Half
    # of the trials is the limit: beyond it "good" would mean "not bad".
    quantile = min(0.5, max(0.1, GOOD_TRIALS / len(drawn)))
    # The evaluator compares with where the trials lie, not with the whole range, because a sampler concentrates them.
    evaluator = PedAnovaImportanceEvaluator(target_quantile=quantile)
    found = get_param_importances(view, evaluator=evaluator, normalize=False)
    return {name: found.get(name, 0.0) for name in names}


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Optuna's line about each new study, and its warnings about rarely active conditional parameters."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
