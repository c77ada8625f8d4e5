"""Comparisons of trials by fresh seeds: the re-evaluated ones, ties, selection bias, the best baseline, the front."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import hypot
from statistics import fmean
from typing import NamedTuple

from search_spaces.distributions import Scalar
from trainables.catalog import sign
from tune_app.experiment.elsewhere import other_values
from tune_app.experiment.fresh_values import FreshValues, estimate, fresh_estimate
from tune_app.experiment.ranking import TrialResult, front, ranked, trial_result
from tune_app.experiment.records import TrialRecord


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
    trainings: list[float]
    """Value of each training of the setting with a fresh seed, whose mean is `value`. Empty if there was none."""
    own_value: float
    """Value of the trial's own training by fresh seeds."""


@dataclass(frozen=True)
class BaselineRow:
    """The best baseline beside the winner, both by fresh seeds or both by the sweep's own values."""

    trial: str
    differs: dict[str, Scalar]
    """Its values of parameters that the sweep does not search, where they differ from the sweep's."""
    value: float
    stderr: float | None
    worse_by: float
    """How much worse the baseline is than the winner; below 0 it is better."""
    worse_by_stderr: float | None
    fresh: bool
    """True if both values are by fresh seeds."""
    beaten: bool | None
    """True if the winner is better by more than chance explains. None if no error is known."""


@dataclass(frozen=True)
class FrontTrial(TrialResult):
    """A trial on the Pareto front of two objectives."""

    values: dict[str, float | None]
    """Value of each objective: by fresh seeds if the trial was re-evaluated."""
    stderrs: dict[str, float | None]
    tied: list[str]
    """Re-evaluated trials that tie with this one in every objective."""


def recheck_row(record: TrialRecord, fresh: FreshValues) -> RecheckRow:
    """Return the row of a re-evaluated trial."""
    value, again = fresh.get(record.id), record.recheck
    assert again
    assert value
    same, own = estimate(again.same, fresh.metric), fresh_estimate(record, fresh.metric)
    assert own
    return RecheckRow(
        trial=record.id,
        value=value.mean,
        stderr=value.estimate.stderr,
        sweep_value=record.value(fresh.metric),
        sweep_value_again=same.mean if same else None,
        trainings=list(value.trainings),
        own_value=own.mean,
    )


def tied_in_all(record: TrialRecord, others: Iterable[TrialRecord], metrics: Sequence[str]) -> list[str]:
    """Return the other re-evaluated trials that tie with `record` in every metric.

    A metric that is not measured again, such as `seconds`, ties only if it is equal.
    """
    trials = [record, *(other for other in others if other is not record and other.recheck)]
    tied = {other.id for other in trials[1:]}
    for metric in metrics:
        fresh = FreshValues(trials, metric)
        equal = {other.id for other in trials if other.value(metric) == record.value(metric)}
        tied &= {*fresh.tied_both_ways(record.id)} if fresh.get(record.id) else equal
    return [other.id for other in trials if other.id in tied]


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


def best_baseline(
    trials: Iterable[TrialRecord], winner: TrialRecord, fresh: FreshValues, constants: Mapping[str, Scalar]
) -> BaselineRow | None:
    """Return the best baseline that went as far as the winner, or None if there is none or it is the winner."""
    metric = fresh.metric
    baselines = [record for record in ranked(trials, metric) if record.source == "baseline"]
    measured = [(value, record) for record in baselines if (value := fresh.get(record.id))]
    if fresh.get(winner.id) and measured:
        value, record = min(measured, key=lambda pair: sign(metric) * pair[0].mean)
        difference = fresh.difference(winner.id, record.id)
        assert difference
        beaten = difference.mean > fresh.threshold(1) * difference.stderr
        differs = other_values(record.params, constants)
        row = BaselineRow(record.id, differs, *value.estimate, *difference, fresh=True, beaten=beaten)
    else:
        known = [(found, record) for record in baselines if (found := _by_the_sweep(record, metric))]
        ours = _by_the_sweep(winner, metric)
        if not known or not ours:
            return None
        theirs, record = min(known, key=lambda pair: sign(metric) * pair[0].mean)
        worse_by = sign(metric) * (theirs.mean - ours.mean)
        error = None if None in (ours.stderr, theirs.stderr) else hypot(ours.stderr or 0, theirs.stderr or 0)
        differs = other_values(record.params, constants)
        row = BaselineRow(record.id, differs, *theirs, worse_by, error, fresh=False, beaten=None)
    return None if row.trial == winner.id else row


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
        tied=tied_in_all(record, trials, metrics),
    )


def _by_the_sweep(record: TrialRecord, metric: str) -> Measured | None:
    """Return the metric as the sweep measured it at the trial's last rung."""
    own = record.value(metric)
    return None if own is None else Measured(own, record.rungs[-1].metrics.get(f"{metric}_stderr"))


def _best_known(record: TrialRecord, metric: str) -> Measured | None:
    value = fresh_estimate(record, metric)
    return Measured(*value) if value else _by_the_sweep(record, metric)


def _value(record: TrialRecord, metric: str) -> float | None:
    known = _best_known(record, metric)
    return known and known.mean
