"""Comparisons of trials by fresh seeds: the re-evaluated ones, ties, selection bias, the best baseline, the front."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import hypot
from statistics import fmean
from typing import NamedTuple

from trainables.catalog import sign
from tune_app.experiment.ranking import TrialResult, estimate, fresh_estimate, front, ranked, trial_result
from tune_app.experiment.records import TrialRecord

TIED = 2.0
"""Two trials tie if their difference is below this many standard errors."""


class Measured(NamedTuple):
    """A value, and its standard error if it has one."""

    mean: float
    stderr: float | None


@dataclass(frozen=True)
class RecheckRow:
    """A trial's value by fresh seeds beside the sweep's own."""

    trial: str
    value: float
    stderr: float
    sweep_value: float | None
    sweep_value_again: float | None
    """Mean over fresh seeds at the sweep's own budget."""


@dataclass(frozen=True)
class BaselineRow:
    """The best baseline beside the winner, both by fresh seeds or both by the sweep's own values."""

    trial: str
    value: float
    stderr: float | None
    worse_by: float
    """How much worse the baseline is than the winner; below 0 it is better."""
    worse_by_stderr: float | None
    fresh: bool
    """True if both values are by fresh seeds."""


@dataclass(frozen=True)
class FrontTrial(TrialResult):
    """A trial on the Pareto front of two objectives."""

    values: dict[str, float | None]
    """Value of each objective: by fresh seeds if the trial was re-evaluated."""
    stderrs: dict[str, float | None]
    tied: list[str]
    """Re-evaluated trials that tie with this one in every objective."""


def recheck_row(record: TrialRecord, metric: str) -> RecheckRow:
    """Return the row of a re-evaluated trial."""
    value = fresh_estimate(record, metric)
    assert record.recheck
    assert value
    again = estimate(record.recheck.same, metric)
    return RecheckRow(record.id, value.mean, value.stderr, record.value(metric), again and again.mean)


def tied_with(record: TrialRecord, others: Iterable[TrialRecord], metrics: Sequence[str]) -> list[str]:
    """Return the other re-evaluated trials that tie with `record` in every metric."""
    return [
        other.id
        for other in others
        if other is not record and other.recheck and all(_tie(record, other, metric) for metric in metrics)
    ]


def optimism(rechecked: Sequence[TrialRecord], metric: str) -> float | None:
    """Return the selection bias of the sweep's leader: how much worse its value is with fresh seeds."""
    if not rechecked or not rechecked[0].recheck:
        return None
    again, claimed = estimate(rechecked[0].recheck.same, metric), rechecked[0].value(metric)
    return None if again is None or claimed is None else sign(metric) * (again.mean - claimed)


def blurs(record: TrialRecord) -> float | None:
    """Return the trial's kid in units of what a 3x3 blur does to real images, if it is known."""
    if record.recheck:
        values = [value for draw in record.recheck.draws if (value := draw.get("kid_blurs")) is not None]
        return fmean(values) if values else None
    return record.value("kid_blurs")


def best_baseline(trials: Iterable[TrialRecord], winner: TrialRecord, metric: str) -> BaselineRow | None:
    """Return the best baseline that went as far as the winner, or None if there is none or it is the winner."""
    baselines = [record for record in ranked(trials, metric) if record.source == "baseline"]
    fresh = winner.recheck is not None and any(record.recheck for record in baselines)
    measured = [(one, record) for record in baselines if (one := _measured(record, metric, fresh=fresh))]
    ours = _measured(winner, metric, fresh=fresh)
    if not measured or not ours:
        return None
    theirs, record = min(measured, key=lambda pair: sign(metric) * pair[0].mean)
    if record is winner:
        return None
    return BaselineRow(
        trial=record.id,
        value=theirs.mean,
        stderr=theirs.stderr,
        worse_by=sign(metric) * (theirs.mean - ours.mean),
        worse_by_stderr=None if None in (ours.stderr, theirs.stderr) else hypot(ours.stderr or 0, theirs.stderr or 0),
        fresh=fresh,
    )


def measured_front(trials: Sequence[TrialRecord], metrics: Sequence[str]) -> list[TrialRecord]:
    """Return the Pareto front: of the re-evaluated trials by fresh seeds, or of all by the sweep's own values."""
    rechecked = [record for record in trials if record.recheck]
    return front(rechecked or trials, metrics, value=_value)


def front_trial(record: TrialRecord, trials: Sequence[TrialRecord], metrics: Sequence[str]) -> FrontTrial:
    """Return a trial of the front with its values and the trials that tie with it."""
    values = {metric: _best_known(record, metric) for metric in metrics}
    return FrontTrial(
        **vars(trial_result(record, metrics[0])),
        values={metric: value.mean if value else None for metric, value in values.items()},
        stderrs={metric: value.stderr if value else None for metric, value in values.items()},
        tied=tied_with(record, trials, metrics),
    )


def _measured(record: TrialRecord, metric: str, *, fresh: bool) -> Measured | None:
    """Return the metric by fresh seeds, or as the sweep measured it at the trial's last rung."""
    if fresh:
        value = fresh_estimate(record, metric)
        return value and Measured(*value)
    own = record.value(metric)
    return None if own is None else Measured(own, record.rungs[-1].metrics.get(f"{metric}_stderr"))


def _best_known(record: TrialRecord, metric: str) -> Measured | None:
    return _measured(record, metric, fresh=True) or _measured(record, metric, fresh=False)


def _value(record: TrialRecord, metric: str) -> float | None:
    known = _best_known(record, metric)
    return known and known.mean


def _tie(record: TrialRecord, other: TrialRecord, metric: str) -> bool:
    """Return True if two trials tie. A metric that is not measured again, such as `seconds`, ties only if equal."""
    one, two = fresh_estimate(record, metric), fresh_estimate(other, metric)
    if one is None or two is None:
        return record.value(metric) == other.value(metric)
    return abs(one.mean - two.mean) < TIED * hypot(one.stderr, two.stderr)
