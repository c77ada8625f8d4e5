"""Importance of each searched parameter, with its standard deviation."""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from math import isfinite

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
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
SHUFFLES = 40
"""Times that the values are shuffled among the trials, to see what share chance alone reaches."""
CHANCE = 0.95


@dataclass(frozen=True)
class Share:
    """A parameter's share of importance, and what it is worth."""

    share: float
    sd: float
    """Standard deviation over bootstrap draws of the trials."""
    chance: float
    """Share that the parameter would exceed in 5 of 100 sweeps if it had no effect. Below it, nothing is claimed."""


def importances(config: SweepConfig, records: Iterable[TrialRecord], *, rounds: int = 20) -> dict[str, Share] | None:
    """Return each parameter's share of importance by PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255), largest first.

    The shares are those of all completed trials and add up to 1, their standard deviations those over `rounds`
    bootstrap draws. Leave out a parameter that took one value, or whose `when` held in fewer than LEAST_TRIALS trials.
    Return None if too few trials completed or all ended alike.
    """
    inside = [record for record in records if not lies_elsewhere(record.params, config.constants)]
    measured = [(_params(config, record), value) for record in inside if (value := _value(config, record)) is not None]
    if len(measured) < LEAST_TRIALS or len({value for _, value in measured}) == 1:
        return None
    varied = [name for name in config.parameters if _varies([params[name] for params, _ in measured if name in params])]
    if not varied:
        return {}
    rng = np.random.default_rng(config.search.seed)
    params, values = [params for params, _ in measured], [value for _, value in measured]
    known = {name: distribution(config.parameters[name]) for name in varied}
    with _quiet():
        study = _study(known, params, values)
        trials = study.get_trials(deepcopy=False)
        plain = _by_parameter(study, trials, varied)
        draws = [[trials[i] for i in rng.integers(len(trials), size=len(trials))] for _ in range(rounds)]
        resampled = [_by_parameter(study, draw, varied) for draw in draws]
        shuffled = [_by_parameter_of(_study(known, params, rng.permutation(values)), varied) for _ in range(SHUFFLES)]
    total, sums = sum(plain.values()) or 1.0, [sum(one.values()) or 1.0 for one in resampled]
    shares = {
        name: Share(
            share=plain[name] / total,
            sd=float(np.std([one[name] / s for one, s in zip(resampled, sums, strict=True)])),
            chance=float(np.quantile([one[name] for one in shuffled], CHANCE)) / total,
        )
        for name in varied
    }
    return dict(sorted(shares.items(), key=lambda item: -item[1].share))


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
    known: Mapping[str, BaseDistribution], params: Iterable[Mapping[str, Scalar]], values: Iterable[float]
) -> optuna.Study:
    study = optuna.create_study(storage=optuna.storages.InMemoryStorage(), direction="minimize")
    for one, value in zip(params, values, strict=True):
        here = {name: one[name] for name in known if name in one}
        study.add_trial(
            create_trial(params=here, distributions={name: known[name] for name in here}, value=float(value))
        )
    return study


def _by_parameter_of(study: optuna.Study, names: Iterable[str]) -> dict[str, float]:
    return _by_parameter(study, study.get_trials(deepcopy=False), names)


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
