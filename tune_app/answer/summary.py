"""The summary of a sweep: the winner by fresh seeds, the trials that tie with it, and reasons for doubt."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import hypot

from pydantic import JsonValue

from trainables.catalog import sign
from tune_app.answer.bounds import near_bounds
from tune_app.answer.rungs import RungVerdict, next_grace, rung_verdicts
from tune_app.config.schema import MetricConfig, SweepConfig
from tune_app.experiment.events import Event
from tune_app.experiment.ranking import TrialResult, best, estimate, fresh_estimate, front, ranked, trial_result
from tune_app.experiment.records import Records, TrialRecord
from tune_app.plan import plan_warnings

TIED = 2.0
"""Two trials tie if their difference is below this many standard errors."""
LEAST_COMPLETED = 8
"""Completed trials from which on importances are estimated."""
AGREEING = 3
"""The winner should be among this many best trials by the other feature set."""


@dataclass(frozen=True)
class FrontTrial(TrialResult):
    """A trial on the Pareto front of two objectives."""

    values: dict[str, float | None]
    """Value of each objective."""


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
class Share:
    """A parameter's share of importance, and its standard deviation over bootstrap draws."""

    share: float
    sd: float


@dataclass(frozen=True)
class Answer:
    """What the best trial is worth."""

    rechecked: list[RecheckRow]
    tied: list[str]
    """Trials that tie with the best one."""
    optimism: float | None
    """How much better the sweep's leader looked than it is with fresh seeds at the same budget."""
    rungs: list[RungVerdict]
    grace_kimg: float | None
    """First rung to use next time."""
    at_bounds: list[str]
    """A sentence for each best value at a bound of its range."""
    disagreement: str | None
    """A sentence if the other feature set does not rank the winner among the best."""
    importances: dict[str, Share] | None
    """None if too few trials completed."""


@dataclass(frozen=True)
class Summary:
    """summary.json: trials by state, the best trial, the cost, and what the answer is worth."""

    name: str
    state: str
    trials: dict[str, int]
    metric: MetricConfig
    metrics: list[MetricConfig]
    best: TrialResult | None
    front: list[FrontTrial]
    answer: Answer | None
    features: dict[str, str]
    cost: dict[str, float]
    warnings: list[str]

    def as_json(self) -> dict[str, JsonValue]:
        """Return the JSON document."""
        document = asdict(self)
        return {
            **document,
            "metric": self.metric.model_dump(),
            "metrics": [metric.model_dump() for metric in self.metrics],
        }

    def best_json(self) -> dict[str, JsonValue] | None:
        """Return the JSON document of the best trial, with the Pareto front if there are two objectives."""
        front: list[JsonValue] = [asdict(trial) for trial in self.front]
        return None if self.best is None else {**asdict(self.best), **({"front": front} if front else {})}


def summarise(config: SweepConfig, records: Records, events: Sequence[Event]) -> Summary:
    """Return the summary of a sweep, whatever its state."""
    metric, names = config.metric.name, [one.name for one in config.metrics]
    trials = list(records.trials.values())
    leaders = front(trials, names) if names else []
    winner = leaders[0] if leaders else best(trials, metric)
    return Summary(
        name=config.name,
        state=records.state,
        trials={state: count for state, count in sorted(records.counts.items()) if count},
        metric=config.metric,
        metrics=config.objectives,
        best=trial_result(winner, metric) if winner else None,
        front=[
            FrontTrial(**vars(trial_result(record, metric)), values={name: record.value(name) for name in names})
            for record in leaders
        ],
        answer=_answer(config, records, events, winner) if winner else None,
        features=records.features,
        cost=records.cost(),
        warnings=plan_warnings(config),
    )


def _answer(config: SweepConfig, records: Records, events: Sequence[Event], winner: TrialRecord) -> Answer:
    metric, trials = config.metric.name, list(records.trials.values())
    rechecked = [record for record in ranked(trials, metric) if fresh_estimate(record, metric)]
    verdicts = rung_verdicts(events, config.rungs, metric)
    completed = winner.state == "completed"
    return Answer(
        rechecked=[_recheck_row(record, metric) for record in rechecked],
        tied=[record.id for record in rechecked if record is not winner and _tie(record, winner, metric)],
        optimism=_optimism(rechecked, metric),
        rungs=verdicts,
        grace_kimg=next_grace(verdicts, config.rungs),
        at_bounds=near_bounds(config, trial_result(winner, metric).params) if completed else [],
        disagreement=_disagreement(trials, winner, metric),
        importances=_importances(config, records),
    )


def _importances(config: SweepConfig, records: Records) -> dict[str, Share] | None:
    if records.counts["completed"] < LEAST_COMPLETED or config.metrics:
        return None
    from tune_app.answer.importance import importances  # imports optuna, which `status` does not need

    shares = importances(config, records.trials.values())
    return None if shares is None else {name: Share(share, sd) for name, (share, sd) in shares.items()}


def _recheck_row(record: TrialRecord, metric: str) -> RecheckRow:
    value = fresh_estimate(record, metric)
    assert record.recheck
    assert value
    again = estimate(record.recheck.same, metric)
    return RecheckRow(record.id, value.mean, value.stderr, record.value(metric), again and again.mean)


def _tie(record: TrialRecord, winner: TrialRecord, metric: str) -> bool:
    one, other = fresh_estimate(record, metric), fresh_estimate(winner, metric)
    return bool(one and other and abs(one.mean - other.mean) < TIED * hypot(one.stderr, other.stderr))


def _optimism(rechecked: list[TrialRecord], metric: str) -> float | None:
    """Return the selection bias of the sweep's leader: how much worse its value is with fresh seeds."""
    if not rechecked or not rechecked[0].recheck:
        return None
    again, claimed = estimate(rechecked[0].recheck.same, metric), rechecked[0].value(metric)
    return None if again is None or claimed is None else sign(metric) * (again.mean - claimed)


def _disagreement(trials: list[TrialRecord], winner: TrialRecord, metric: str) -> str | None:
    order = [record.id for record in ranked(trials, "kid_alt")] if metric == "kid" else []
    if winner.id not in order[AGREEING:]:
        return None
    rank = order.index(winner.id) + 1
    return (
        f"by kid_alt, which uses the other feature set, trial {winner.id} has rank {rank} of {len(order)}: "
        "look at its samples"
    )
