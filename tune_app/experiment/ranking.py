"""The order of finished trials: by the sweep's own values, and by fresh seeds if trials were re-evaluated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf, sqrt
from statistics import fmean, stdev

from search_spaces.distributions import Scalar
from trainables.catalog import sign
from tune_app.config.retraining_config import RetrainingConfig
from tune_app.experiment.fresh_values import FreshValues
from tune_app.experiment.records import TrialRecord


def ranked(records: Iterable[TrialRecord], metric: str) -> list[TrialRecord]:
    """Return the trials that reached the highest rung, the best first.

    A value at 1 kimg does not compete with one at 20 kimg.
    """
    measured = [
        (record, value)
        for record in records
        if record.state != "failed" and not record.retrains and (value := record.value(metric)) is not None
    ]
    furthest = max((record.rungs[-1].kimg for record, _ in measured), default=0.0)
    finalists = [(record, value) for record, value in measured if record.rungs[-1].kimg == furthest]
    return [record for record, _ in sorted(finalists, key=lambda pair: sign(metric) * pair[1])]


def best(records: Iterable[TrialRecord], metric: str, retraining: RetrainingConfig | None = None) -> TrialRecord | None:
    """Return the best trial by fresh seeds, or by the sweep's own values if no trial was re-evaluated.

    In a retraining it is the first training of the first setting. To choose among trainings by the test images would
    make the chosen one look better than it is.
    """
    trials = list(records)
    if retraining:
        return next(iter(trainings(trials, retraining, metric)[0]), None)
    order = ranked(trials, metric)
    return FreshValues(order, metric).best() or (order[0] if order else None)


def best_result(
    records: Iterable[TrialRecord], metric: str, retraining: RetrainingConfig | None = None
) -> TrialResult | None:
    """Return the result of the best trial, or None before the first rung.

    In a retraining its value is the mean over the trainings of its setting.
    """
    trials = list(records)
    winner = best(trials, metric, retraining)
    if winner is None:
        return None
    if retraining is None:
        return trial_result(winner, metric, FreshValues(ranked(trials, metric), metric))
    values = [value for one in trainings(trials, retraining, metric)[0] if (value := one.value(metric)) is not None]
    error = stdev(values) / sqrt(len(values)) if len(values) > 1 else None
    return replace(trial_result(winner, metric), value=fmean(values), stderr=error, trainings=values)


def trainings(records: Iterable[TrialRecord], retraining: RetrainingConfig, metric: str) -> list[list[TrialRecord]]:
    """Return the finished trainings of each setting of a retraining, in the order of their seeds."""
    finished = [one for one in records if one.state == "completed" and one.value(metric) is not None]
    count = len(retraining.settings)
    return [[one for one in finished if one.number % count == setting] for setting in range(count)]


def front(
    records: Iterable[TrialRecord],
    metrics: Sequence[str],
    value: Callable[[TrialRecord, str], float | None] = TrialRecord.value,
) -> list[TrialRecord]:
    """Return the Pareto front.

    A trial is on it if no other trial is at least as good in all metrics and better in one. `value` returns the number
    by which trials are compared.
    """
    order = ranked(records, metrics[0])

    def costs(record: TrialRecord) -> list[float]:
        values = [value(record, metric) for metric in metrics]
        return [inf if v is None else sign(metric) * v for metric, v in zip(metrics, values, strict=True)]

    def dominates(other: TrialRecord, one: TrialRecord) -> bool:
        pairs = list(zip(costs(other), costs(one), strict=True))
        return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)

    return [one for one in order if not any(dominates(other, one) for other in order)]


@dataclass(frozen=True)
class TrialResult:
    """A trial as summary.json shows it."""

    trial: str
    value: float | None
    """Mean over the draws with fresh seeds if there are any, else the sweep's own value."""
    stderr: float | None
    sweep_value: float | None
    """Value that the sweep measured at the last rung."""
    draws: int
    """Number of draws with fresh seeds."""
    trainings: list[float]
    """Value of each training of the setting with a fresh seed, whose mean is `value`. Empty if there was none."""
    kimg: float
    params: dict[str, Scalar]
    """Parameters of the trial, with the best sampling setting."""
    settled: dict[str, Scalar]
    """The sampling setting with its derived values, such as the raw step size."""
    pictures: dict[str, str]
    checkpoint: str | None
    """The checkpoint written at `kimg`, relative to the experiment; None if it is missing."""
    state: str
    source: str
    features: str
    metrics: dict[str, float | None]


def trial_result(record: TrialRecord, metric: str, fresh: FreshValues | None = None) -> TrialResult:
    """Return the result of a trial that has reached a rung. `fresh` holds the values of the whole sweep."""
    rung, recheck = record.rungs[-1], record.recheck
    known = (fresh or FreshValues([record], metric)).get(record.id)
    measured = recheck if recheck and known else rung
    value, stderr = known.estimate if known else (rung.metrics.get(metric), rung.metrics.get(f"{metric}_stderr"))
    return TrialResult(
        trial=record.id,
        value=value,
        stderr=stderr,
        sweep_value=rung.metrics.get(metric),
        draws=len(recheck.draws) if recheck and known else 0,
        trainings=list(known.trainings) if known else [],
        kimg=rung.kimg,
        params={**record.params, **measured.sampling},
        settled=measured.settled,
        pictures={**rung.pictures, **(recheck.pictures if recheck else {})},
        checkpoint=record.checkpoint_at(rung.kimg),
        state=record.state,
        source=record.source,
        features=rung.features,
        metrics=rung.metrics,
    )
