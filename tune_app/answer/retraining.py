"""The answer of a retraining: each setting on the test images over its trainings, and the winner against the baselines.

Welch's t-test compares two settings. It takes the trainings as the only source of error, because all models are
compared with the same test images. The winner beats the baselines if it is better than every one of them, each at 5 %.
So a winner that is no better than the best baseline is called better in at most 5 of 100 retrainings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt
from statistics import fmean, stdev
from typing import NamedTuple

from search_spaces.distributions import Scalar
from trainables.catalog import MODELS, sign
from tune_app.config.retraining_config import Promise, RetrainedSetting, RetrainingConfig
from tune_app.config.schema import SweepConfig
from tune_app.experiment.fresh_values import ERROR_RATE
from tune_app.experiment.ranking import trainings
from tune_app.experiment.records import Records, TrialRecord

BOTH_SIDES = 0.95
"""Share of intervals that hold the true difference."""


class Spread(NamedTuple):
    """A metric over the trainings of one setting."""

    mean: float
    sd: float | None
    """Standard deviation between trainings; None for a single one."""


@dataclass(frozen=True)
class RetrainedRow:
    """A setting that was trained again."""

    name: str
    trial: str
    """The sweep's trial with this setting."""
    baseline: bool
    params: dict[str, Scalar]
    """The values that the setting gives, with its sampling setting."""
    trials: list[str]
    """The finished trainings."""
    values: list[float]
    """The metric of each on the test images."""
    metrics: dict[str, Spread]
    """Every metric over the trainings, on the test images."""
    promised: dict[str, Promise]
    """Values that the sweep measured on held-out images, by objective."""


@dataclass(frozen=True)
class Difference:
    """How much better the first setting is than a baseline, on the test images."""

    baseline: str
    """Name of the baseline's row."""
    better_by: float
    """Below 0 the baseline is better."""
    stderr: float | None
    """None if a setting has a single training."""
    degrees: float | None
    """Welch's degrees of freedom."""
    low: float | None
    """Ends of the 95 % interval of `better_by`."""
    high: float | None
    better: bool | None
    """True if chance does not explain it (one-sided, 5 %). None if that is not known."""


@dataclass(frozen=True)
class Retrained:
    """The answer of a retraining."""

    sweep: str
    """Folder of the sweep."""
    metric: str
    seeds: int
    """Trainings that were asked of each setting."""
    test_images: int | None
    """Number of test images that samples were compared with; None for a model without images."""
    rows: list[RetrainedRow]
    differences: list[Difference]
    """From each baseline that is not the first setting itself, the best baseline first."""
    beats_baselines: bool | None
    """True if the first setting is better than every baseline. None without baselines, or if that is not known."""


def retrained(config: SweepConfig, plan: RetrainingConfig, records: Records) -> Retrained:
    """Return the answer of a retraining, as far as it has come."""
    metric = config.metric.name
    groups = trainings(records.trials.values(), plan, metric)
    values = config.baselines
    rows = [_row(one, values[i], groups[i], config) for i, one in enumerate(plan.settings)]
    first = rows[0]
    rivals = [row for row in rows[1:] if row.baseline and row.values]
    differences = [difference(first, row, metric) for row in rivals] if first.values else []
    differences.sort(key=lambda one: one.better_by)
    known = [one.better for one in differences]
    return Retrained(
        sweep=plan.experiment,
        metric=metric,
        seeds=plan.seeds,
        test_images=records.compared.get("retraining"),
        rows=rows,
        differences=differences,
        beats_baselines=False if False in known else None if not known or None in known else True,
    )


def difference(first: RetrainedRow, baseline: RetrainedRow, metric: str) -> Difference:
    """Return how much better `first` is, by Welch's t-test over the trainings."""
    one, two = first.values, baseline.values
    better_by = sign(metric) * (fmean(two) - fmean(one))
    if len(one) < 2 or len(two) < 2:
        return Difference(baseline.name, better_by, None, None, None, None, None)
    parts = [stdev(values) ** 2 / len(values) for values in (one, two)]
    stderr = sqrt(sum(parts))
    squares = sum(part**2 / (len(values) - 1) for part, values in zip(parts, (one, two), strict=True))
    degrees = sum(parts) ** 2 / squares if squares else inf  # no spread at all: the numbers are exact
    margin, limit = (critical(degrees, level) * stderr for level in ((1 + BOTH_SIDES) / 2, 1 - ERROR_RATE))
    finite = None if degrees == inf else degrees
    low, high = better_by - margin, better_by + margin
    return Difference(baseline.name, better_by, stderr, finite, low, high, better=better_by > limit)


def critical(degrees: float, level: float) -> float:
    """Return the quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(min(degrees, 1e9), level))


def retrained_sentences(answer: Retrained) -> list[str]:
    """Return the answer in up to three sentences."""
    first = answer.rows[0]
    if not first.values:
        return [f"{_subject(first)} has no finished training yet."]
    what = f" on {answer.test_images} test images" if answer.test_images else ""
    found = [f"{_subject(first)} of the sweep has {_measured(answer, first)}{what}."]
    if promise := first.promised.get(answer.metric):
        found.append(f"The sweep promised {_with_error(promise.value, promise.stderr)}.")
    return [*found, *verdict(answer)]


def verdict(answer: Retrained) -> list[str]:
    """Return the sentence that says if the first setting beats the baselines."""
    first = answer.rows[0]
    if not answer.differences:
        return [f"{_subject(first)} is a baseline: the search has found nothing better."] if first.baseline else []
    also = " It is a baseline itself." if first.baseline else ""
    closest = answer.differences[0]
    kind = "better" if closest.better_by >= 0 else "worse"
    size = f"{abs(closest.better_by):.3g}" + ("" if closest.stderr is None else f" ± {closest.stderr:.2g}")
    where = "" if closest.low is None else f" (95 % interval of its lead: {closest.low:.3g} to {closest.high:.3g})"
    compared = (
        f"{_subject(first)} is {size} {kind} in {answer.metric} than the best baseline, {closest.baseline}{where}"
    )
    if answer.beats_baselines:
        return [f"{compared}: it beats every baseline beyond chance.{also}"]
    if answer.beats_baselines is None:
        return [f"{compared}. One training of a setting does not tell if that is chance: use two seeds or more.{also}"]
    unbeaten = ", ".join(one.baseline for one in answer.differences if one.better is False)
    return [f"{compared}: it has not beaten {unbeaten} beyond chance.{also}"]


def retrained_lines(answer: Retrained) -> list[str]:
    """Return the tables of the retraining as text: the metric beside the promise, then every metric."""
    lines = [
        f"retrained from {answer.sweep}",
        f"{answer.metric}: mean ± standard deviation between trainings; what the sweep promised ± standard error",
        *_aligned(metric_table(answer)),
        *verdict(answer),
    ]
    others = other_metrics(answer)
    return [*lines, "the other metrics:", *_aligned(others)] if len(others) > 1 else lines


def metric_table(answer: Retrained) -> list[list[str]]:
    """Return the cells of the table of the metric, the titles first."""
    test = f"{answer.test_images} test images" if answer.test_images else "retrained"
    table = [["setting", "trial", "trainings", test, "the sweep promised"]]
    for row in answer.rows:
        promise = row.promised.get(answer.metric)
        promised = "nothing" if promise is None else _with_error(promise.value, promise.stderr)
        spread = row.metrics.get(answer.metric)
        value = _spread(spread) if spread else "no value"
        table.append([row.name, row.trial, f"{len(row.values)} of {answer.seeds}", value, promised])
    return table


def other_metrics(answer: Retrained) -> list[list[str]]:
    """Return the cells of the table of all other metrics, the titles first."""
    names = [name for model in MODELS.values() for name in model.metrics]
    shown = [name for name in dict.fromkeys(names) if any(name in row.metrics for row in answer.rows)]
    table = [["metric", *(row.name for row in answer.rows)]]
    for name in shown:
        if name != answer.metric:
            table.append([name, *(_spread(row.metrics[name]) if name in row.metrics else "" for row in answer.rows)])
    return table


def _row(
    setting: RetrainedSetting, params: dict[str, Scalar], finished: Sequence[TrialRecord], config: SweepConfig
) -> RetrainedRow:
    metric = config.metric.name
    names = dict.fromkeys(name for record in finished for name in record.rungs[-1].metrics)
    return RetrainedRow(
        name=setting.name,
        trial=setting.trial,
        baseline=setting.baseline,
        params=dict(params),
        trials=[record.id for record in finished],
        values=_values(finished, metric),
        metrics={name: _over(values) for name in names if len(values := _values(finished, name)) == len(finished)},
        promised=setting.promised,
    )


def _values(finished: Sequence[TrialRecord], metric: str) -> list[float]:
    return [value for record in finished if (value := record.value(metric)) is not None]


def _over(values: Sequence[float]) -> Spread:
    return Spread(fmean(values), stdev(values) if len(values) > 1 else None)


def _measured(answer: Retrained, row: RetrainedRow) -> str:
    """Return the metric of a setting in words."""
    count = len(row.values)
    words = f"the mean and standard deviation of {count} trainings" if count > 1 else "from one training"
    return f"{answer.metric} {_spread(row.metrics[answer.metric])}, {words},"


def _subject(row: RetrainedRow) -> str:
    """Return the name of a setting and its trial, as the subject of a sentence."""
    own = f"trial {row.trial}"
    return own.capitalize() if row.name == own else f"The {row.name} ({own})"


def _spread(spread: Spread) -> str:
    return _with_error(spread.mean, spread.sd)


def _with_error(value: float, error: float | None) -> str:
    return f"{value:.4g}" + ("" if error is None else f" ± {error:.2g}")


def _aligned(table: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in table]
