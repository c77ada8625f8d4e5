"""Values of finished trials by fresh seeds, with the error of each value and of the difference of two.

A value has three sources of error: the drawn samples, the real images that they are compared with, and the training
itself. All trials are compared with the same real images, so that part of the error is counted once for a value, and
largely cancels in a difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist, fmean, stdev, variance
from typing import NamedTuple

from trainables.catalog import sign
from tune_app.experiment.events import DrawErrors
from tune_app.experiment.records import TrialRecord

ERROR_RATE = 0.05
"""Share of sweeps in which the truly best of the compared trials may neither win nor tie with the winner."""
LEAST_TRAININGS = 2
"""Trainings with fresh seeds from which on a setting is judged by them."""


class Estimate(NamedTuple):
    """Value of a metric and its standard error."""

    mean: float
    stderr: float


@dataclass(frozen=True)
class FreshValue:
    """A metric of one trial by fresh seeds."""

    mean: float
    own_variance: float
    """Squared standard error from everything that two trials do not share."""
    without_group: Sequence[float] = ()
    """The value without each group of the real images. Empty if it is not known."""
    trainings: tuple[float, ...] = ()
    """The value of each training of the setting with a fresh seed. Empty if the trial's own training is judged."""

    @property
    def estimate(self) -> Estimate:
        """Return the value with its standard error."""
        return Estimate(self.mean, sqrt(self.own_variance + jackknife_variance(self.without_group)))


class FreshValues:
    """The values of all re-evaluated trials of a sweep.

    If the best trial's setting was trained again with LEAST_TRAININGS seeds or more, settings are judged by the mean
    over those trainings. Their spread, pooled over the settings, is then the error of every training.
    """

    def __init__(self, trials: Iterable[TrialRecord], metric: str) -> None:
        self.metric = metric
        self._single = {
            record.id: (record, value) for record in trials if not record.retrains and (value := _own(record, metric))
        }
        self._again = {
            trial: again
            for trial, (record, _) in self._single.items()
            if len(again := [value for one in record.retrainings if (value := _own(one, metric))]) >= LEAST_TRAININGS
        }
        leader = min(self._single, key=lambda trial: self._cost(self._single[trial][1]), default=None)
        self.over_trainings = leader in self._again
        """True if settings are judged by fresh trainings."""
        groups = [[value.mean for value in again] for again in self._again.values()]
        self.degrees = sum(len(values) - 1 for values in groups)
        """Degrees of freedom of the spread between trainings."""
        within = sum(variance(values) * (len(values) - 1) for values in groups)
        self._training_variance = within / self.degrees if self.degrees else 0.0

    def get(self, trial: str) -> FreshValue | None:
        """Return the value of a trial, or None if it was not re-evaluated."""
        if trial not in self._single:
            return None
        value = self._single[trial][1]
        if not self.over_trainings:
            return value
        again = self._again.get(trial)
        if not again:
            return FreshValue(value.mean, self._training_variance, value.without_group)
        means = tuple(one.mean for one in again)
        columns = zip(*(one.without_group for one in again), strict=False)
        return FreshValue(
            mean=fmean(means),
            own_variance=self._training_variance / len(means),
            without_group=[fmean(column) for column in columns],
            trainings=means,
        )

    def difference(self, trial: str, other: str) -> Estimate | None:
        """Return how much worse `other` is than `trial`, below 0 if it is better, or None if one has no value."""
        one, two = self.get(trial), self.get(other)
        return difference(one, two, self.metric) if one and two else None

    def ranked(self) -> list[TrialRecord]:
        """Return the trials in the order of their own training's value, the best first."""
        order = sorted(self._single.values(), key=lambda pair: self._cost(pair[1]))
        return [record for record, _ in order]

    def best(self) -> TrialRecord | None:
        """Return the trial with the best value; among those trained again, if settings are judged by trainings."""
        candidates = self._again if self.over_trainings else self._single
        chosen = min(candidates, key=lambda trial: self._cost(self.get(trial)), default=None)
        return self._single[chosen][0] if chosen else None

    def tied_with(self, trial: str) -> list[str]:
        """Return the trials that tie with `trial`: none of them is worse beyond `threshold` standard errors."""
        rivals = [other for other in self._single if other != trial]
        differences = {other: found for other in rivals if (found := self.difference(trial, other))}
        limit = self.threshold(len(rivals))
        return [other for other, found in differences.items() if found.mean < limit * found.stderr]

    def tied_both_ways(self, trial: str) -> list[str]:
        """Return the trials whose difference from `trial`, better or worse, is within two standard errors."""
        rivals = {other: found for other in self._single if other != trial and (found := self.difference(trial, other))}
        return [other for other, found in rivals.items() if abs(found.mean) < 2 * found.stderr]

    def threshold(self, comparisons: int) -> float:
        """Return the one-sided critical value for several comparisons with the winner (Bonferroni).

        Then the truly best trial wins or ties with the winner in 95 of 100 sweeps, even if all trials are equal.
        """
        level = 1 - ERROR_RATE / max(1, comparisons)
        if not self.over_trainings:
            return NormalDist().inv_cdf(level)
        from scipy.special import stdtrit  # `status` does not need it

        return float(stdtrit(self.degrees, level))  # few trainings tell their spread only roughly: Student's t

    def _cost(self, value: FreshValue | None) -> float:
        return sign(self.metric) * value.mean if value else float("inf")


def difference(one: FreshValue, two: FreshValue, metric: str) -> Estimate:
    """Return how much worse `two` is than `one`. Both were compared with the same real images."""
    worse = sign(metric) * (two.mean - one.mean)
    if len(one.without_group) == len(two.without_group):
        shared = [b - a for a, b in zip(one.without_group, two.without_group, strict=True)]
        return Estimate(worse, sqrt(one.own_variance + two.own_variance + jackknife_variance(shared)))
    return Estimate(worse, sqrt(one.estimate.stderr**2 + two.estimate.stderr**2))


def fresh_estimate(record: TrialRecord, metric: str) -> Estimate | None:
    """Return the metric of one trial's own training by its re-evaluation, or None if there is none."""
    value = _own(record, metric)
    return value.estimate if value else None


def estimate(
    draws: Sequence[Mapping[str, float | None]], metric: str, errors: DrawErrors | None = None
) -> FreshValue | None:
    """Return the mean of `metric` over `draws`, or None if there are fewer than two or one lacks the metric.

    Without the parts of the error, the standard error is the larger of two: the one from the draws' own errors, and
    the one from their spread.
    """
    values = [value for draw in draws if (value := draw.get(metric)) is not None]
    if len(values) < 2 or len(values) < len(draws):
        return None
    if errors:
        return FreshValue(fmean(values), errors.samples**2, errors.without_group)
    stated = [draw.get(f"{metric}_stderr") or 0.0 for draw in draws]
    own = sqrt(sum(error**2 for error in stated)) / len(values)
    return FreshValue(fmean(values), max(own, stdev(values) / sqrt(len(values))) ** 2)


def jackknife_variance(without_group: Sequence[float]) -> float:
    """Return the variance of a value from its values without each of g groups: (g - 1) / g sum (v_i - mean)^2."""
    groups = len(without_group)
    if not groups:
        return 0.0
    mean = fmean(without_group)
    return (groups - 1) / groups * sum((value - mean) ** 2 for value in without_group)


def _own(record: TrialRecord, metric: str) -> FreshValue | None:
    again = record.recheck
    return estimate(again.draws, metric, again.errors.get(metric)) if again else None
