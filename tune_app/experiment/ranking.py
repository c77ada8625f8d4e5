"""The order of finished trials: by the sweep's own values, and by fresh seeds if trials were re-evaluated."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, sqrt
from statistics import fmean, stdev
from typing import NamedTuple

from search_spaces.distributions import Scalar
from trainables.catalog import sign
from tune_app.experiment.records import TrialRecord


class Estimate(NamedTuple):
    """Mean of a metric over several draws, and its standard error."""

    mean: float
    stderr: float


def estimate(draws: Sequence[Mapping[str, float | None]], metric: str) -> Estimate | None:
    """Return the mean of `metric` over `draws`, or None if there are fewer than two or one lacks the metric.

    The standard error is the larger of two: the one from the draws' own errors, and the one from their spread.
    """
    values = [value for draw in draws if (value := draw.get(metric)) is not None]
    if len(values) < 2 or len(values) < len(draws):
        return None
    errors = [draw.get(f"{metric}_stderr") or 0.0 for draw in draws]
    own = sqrt(sum(error**2 for error in errors)) / len(values)
    return Estimate(fmean(values), max(own, stdev(values) / sqrt(len(values))))


def fresh_estimate(record: TrialRecord, metric: str) -> Estimate | None:
    """Return the estimate from the re-evaluation of a trial, if there is one."""
    return estimate(record.recheck.draws, metric) if record.recheck else None


def ranked(records: Iterable[TrialRecord], metric: str) -> list[TrialRecord]:
    """Return the trials that reached the highest rung, the best first.

    A value at 1 kimg does not compete with one at 20 kimg.
    """
    measured = [
        (record, value)
        for record in records
        if record.state != "failed" and (value := record.value(metric)) is not None
    ]
    furthest = max((record.rungs[-1].kimg for record, _ in measured), default=0.0)
    finalists = [(record, value) for record, value in measured if record.rungs[-1].kimg == furthest]
    return [record for record, _ in sorted(finalists, key=lambda pair: sign(metric) * pair[1])]


def best(records: Iterable[TrialRecord], metric: str) -> TrialRecord | None:
    """Return the best trial by fresh seeds, or by the sweep's own values if no trial was re-evaluated."""
    order = ranked(records, metric)
    fresh = [(record, value.mean) for record in order if (value := fresh_estimate(record, metric))]
    if fresh:
        return min(fresh, key=lambda pair: sign(metric) * pair[1])[0]
    return order[0] if order else None


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


def trial_result(record: TrialRecord, metric: str) -> TrialResult:
    """Return the result of a trial that has reached a rung."""
    rung, fresh = record.rungs[-1], fresh_estimate(record, metric)
    recheck = record.recheck
    measured = recheck if recheck and fresh else rung
    value, stderr = fresh or (rung.metrics.get(metric), rung.metrics.get(f"{metric}_stderr"))
    return TrialResult(
        trial=record.id,
        value=value,
        stderr=stderr,
        sweep_value=rung.metrics.get(metric),
        draws=len(recheck.draws) if recheck and fresh else 0,
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
