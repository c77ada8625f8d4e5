"""Importance of each searched parameter, with its standard deviation."""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from math import isfinite

import numpy as np
import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, create_trial

from search_spaces.distributions import Scalar
from search_spaces.to_optuna import distribution
from trainables.catalog import sign
from tune_app.config.schema import SweepConfig
from tune_app.experiment.records import TrialRecord

LEAST_TRIALS = 8
GOOD_TRIALS = 5


def importances(
    config: SweepConfig, records: Iterable[TrialRecord], *, rounds: int = 20
) -> dict[str, tuple[float, float]] | None:
    """Return (mean, standard deviation) of each parameter's share of importance, the largest first.

    Return None if too few trials completed or all ended alike. The method is PED-ANOVA (Watanabe et al. 2023,
    arXiv:2304.10255) over `rounds` bootstrap draws of the completed trials. Leave out a parameter that took one value,
    or whose `when` held in fewer than LEAST_TRIALS trials. A trial that is drawn twice looks like agreement: of two
    parameters, an irrelevant one has a share of about 0.3 at 8 trials and 0.1 at 40.
    """
    measured = [(_params(config, record), value) for record in records if (value := _value(config, record)) is not None]
    if len(measured) < LEAST_TRIALS or len({value for _, value in measured}) == 1:
        return None
    varied = [name for name in config.parameters if _varies([params[name] for params, _ in measured if name in params])]
    if not varied:
        return {}
    rng = np.random.default_rng(config.search.seed)
    with _quiet():
        study = _study(config, varied, measured)
        trials = study.get_trials(deepcopy=False)
        draws = [rng.integers(len(trials), size=len(trials)) for _ in range(rounds)]
        shares = [_shares(study, [trials[i] for i in draw]) for draw in draws]
    table = {name: np.array([share.get(name, 0.0) for share in shares]) for name in varied}
    importance = {name: (float(column.mean()), float(column.std())) for name, column in table.items()}
    return dict(sorted(importance.items(), key=lambda item: -item[1][0]))


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


def _study(config: SweepConfig, varied: list[str], measured: list[tuple[dict[str, Scalar], float]]) -> optuna.Study:
    known = {name: distribution(config.parameters[name]) for name in varied}
    study = optuna.create_study(storage=optuna.storages.InMemoryStorage(), direction="minimize")
    for params, value in measured:
        here = {name: params[name] for name in varied if name in params}
        study.add_trial(create_trial(params=here, distributions={name: known[name] for name in here}, value=value))
    return study


def _shares(study: optuna.Study, drawn: list[FrozenTrial]) -> dict[str, float]:
    """Return the shares by the trials of one draw. A trial that was drawn twice counts twice."""
    view = copy(study)  # making a study for each draw takes several times as long
    view.get_trials = lambda *_, **__: drawn  # type: ignore[method-assign]
    # Optuna's default of a tenth is one trial of eight, too few to estimate a density; five or more are needed. Half
    # of the trials is the limit: beyond it "good" would mean "not bad".
    quantile = min(0.5, max(0.1, GOOD_TRIALS / len(drawn)))
    # The evaluator compares with where the trials lie, not with the whole range, because a sampler concentrates them.
    return get_param_importances(view, evaluator=PedAnovaImportanceEvaluator(target_quantile=quantile))


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
