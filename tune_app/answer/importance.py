"""Which parameters decided a sweep, with how sure that is."""

from __future__ import annotations

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
    """Each parameter's share in what makes a completed trial good, the largest first; None where too few completed.

    PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255) as (mean, sd) over `rounds` bootstrap draws of the trials. A
    parameter that took one value, or whose `when` held in fewer than LEAST_TRIALS of them, is left out. A trial drawn
    twice looks like agreement, so of two parameters an irrelevant one has about 0.3 at 8 trials, 0.1 at 40.
    """
    measured = [(_params(config, record), value) for record in records if (value := _value(config, record)) is not None]
    if len(measured) < LEAST_TRIALS or len({value for _, value in measured}) == 1:
        return None
    judged = [name for name in config.parameters if _varies([params[name] for params, _ in measured if name in params])]
    if not judged:
        return {}
    rng = np.random.default_rng(config.search.seed)
    with _quiet():
        study = _study(config, judged, measured)
        trials = study.get_trials(deepcopy=False)
        draws = [rng.integers(len(trials), size=len(trials)) for _ in range(rounds)]
        shares = [_shares(study, [trials[i] for i in draw]) for draw in draws]
    table = {name: np.array([share.get(name, 0.0) for share in shares]) for name in judged}
    found = {name: (float(column.mean()), float(column.std())) for name, column in table.items()}
    return dict(sorted(found.items(), key=lambda item: -item[1][0]))


def _value(config: SweepConfig, record: TrialRecord) -> float | None:
    """What a completed trial ended at, lower is better."""
    value = record.rungs[-1].metrics.get(config.metric.name) if record.state == "completed" and record.rungs else None
    return None if value is None or not isfinite(value) else value * sign(config.metric.name)


def _params(config: SweepConfig, record: TrialRecord) -> dict[str, Scalar]:
    """What was searched, with the best sampling setting of the last rung."""
    found = record.rungs[-1].sampling
    given = {**record.params, **{name: found[name] for name in config.space.sampling if name in found}}
    # a sampling setting is logged as it was carried out, which may lie outside the range, where Optuna refuses it
    return {
        name: given[name] for name, p in config.parameters.items() if name in given and not p.complaint(given[name])
    }


def _varies(values: list[Scalar]) -> bool:
    return len(values) >= LEAST_TRIALS and len(set(values)) > 1


def _study(config: SweepConfig, judged: list[str], measured: list[tuple[dict[str, Scalar], float]]) -> optuna.Study:
    known = {name: distribution(config.parameters[name]) for name in judged}
    study = optuna.create_study(storage=optuna.storages.InMemoryStorage(), direction="minimize")
    for params, value in measured:
        here = {name: params[name] for name in judged if name in params}
        study.add_trial(create_trial(params=here, distributions={name: known[name] for name in here}, value=value))
    return study


def _shares(study: optuna.Study, drawn: list[FrozenTrial]) -> dict[str, float]:
    """The shares by the trials of one draw; a trial that was drawn twice counts twice."""
    view = copy(study)  # a study of its own for each draw would take several times as long
    view.get_trials = lambda *_, **__: drawn  # type: ignore[method-assign]
    # Optuna's tenth is one trial of eight, from which no density can be told; it asks for five or more. Half of the
    # trials is the limit: beyond it "good" means no more than "not bad"
    quantile = min(0.5, max(0.1, GOOD_TRIALS / len(drawn)))
    # judged against where the trials lay, its default, not against the whole range: a sampler crowds them together
    return get_param_importances(view, evaluator=PedAnovaImportanceEvaluator(target_quantile=quantile))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's line on every new study, and its warnings of conditional parameters that are seldom active."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
