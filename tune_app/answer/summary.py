"""The summary of a sweep: the winner by fresh seeds, the trials that tie with it, and reasons for doubt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from pydantic import JsonValue

from tune_app.answer.bounds import AtBound, at_bounds
from tune_app.answer.comparison import (
    BaselineRow,
    FrontTrial,
    RecheckRow,
    best_baseline,
    blurs,
    front_trial,
    measured_front,
    optimism,
    recheck_row,
)  # fmt: skip
from tune_app.answer.retraining import Retrained, retrained
from tune_app.answer.rungs import RungVerdict, next_grace, rung_verdicts
from tune_app.answer.warnings import sample_warnings
from tune_app.config.schema import MetricConfig, SweepConfig
from tune_app.experiment.events import Event
from tune_app.experiment.folder import Experiment
from tune_app.experiment.forecast import Forecast
from tune_app.experiment.fresh_values import FreshValues
from tune_app.experiment.lock import is_running
from tune_app.experiment.log import read
from tune_app.experiment.ranking import TrialResult, best, best_result, ranked, trial_result
from tune_app.experiment.records import Records, TrialRecord
from tune_app.plan import plan_warnings

if TYPE_CHECKING:
    from tune_app.answer.importance import Share

LEAST_COMPLETED = 8
"""Completed trials from which on importances are estimated."""
AGREEING = 3
"""The winner should be among this many best trials by the other feature set."""


@dataclass(frozen=True)
class Answer:
    """Facts that say what the best trial is worth."""

    kid_blurs: float | None
    """The winner's kid in units of what a 3x3 blur does to real images."""
    scale: dict[str, float | None]
    """kid of corrupted real images by corruption; empty if kid is not the metric."""
    baseline: BaselineRow | None
    """The best baseline beside the winner; None if there is none or it is the winner."""
    rechecked: list[RecheckRow]
    tied: list[str]
    """Trials that tie with the best one."""
    optimism: float | None
    """How much better the sweep's leader looked than it is with fresh seeds at the same budget."""
    rungs: list[RungVerdict]
    grace_kimg: float | None
    """First rung to use next time."""
    at_bounds: list[AtBound]
    """The winner's values that lie at a bound of their range."""
    disagreement: str | None
    """A sentence if the other feature set does not rank the winner among the best."""
    importances: dict[str, Share] | None
    """None if too few trials completed."""


@dataclass(frozen=True)
class Failure:
    """A trial that failed, and why."""

    trial: str
    message: str


@dataclass(frozen=True)
class Summary:
    """The answer of a sweep: summary.json, `best --json` and `run --json`."""

    experiment: str
    """Folder."""
    name: str
    state: str
    trials: dict[str, int]
    """Number of trials of the search in each state."""
    trained_again: int
    """Number of completed trainings of the best settings with fresh seeds."""
    metric: MetricConfig
    metrics: list[MetricConfig]
    searched: list[str]
    """Names of the parameters that are searched."""
    best: TrialResult | None
    front: list[FrontTrial]
    answer: Answer | None
    features: dict[str, str]
    cost: dict[str, float]
    forecast: Forecast | None
    """What was expected at the start, if anything was known."""
    warnings: list[str]
    first_failure: Failure | None
    """The first trial that failed for good."""
    sampler: str
    storage: str | None
    """Address of the checkpoints; None if they lie in the folder."""
    budgets: dict[str, dict[str, int]]
    """Samples and network evaluations of an image: in the sweep's last evaluation, and in the re-evaluation."""
    retraining: Retrained | None
    """The answer of a retraining, which has no `answer`. None for a sweep."""

    def as_json(self) -> dict[str, JsonValue]:
        """Return the JSON document."""
        document = asdict(self)
        return {
            **document,
            "metric": self.metric.model_dump(),
            "forecast": self.forecast.model_dump() if self.forecast else None,
            "retraining": _retraining_json(self.retraining) if self.retraining else None,
            "metrics": [metric.model_dump() for metric in self.metrics],
        }


def _retraining_json(answer: Retrained) -> dict[str, JsonValue]:
    """Return the JSON object, with names for the parts of a spread and of a promise."""
    document = asdict(answer)
    for row, fields in zip(answer.rows, document["rows"], strict=True):
        fields["metrics"] = {name: spread._asdict() for name, spread in row.metrics.items()}
        fields["promised"] = {name: promise.model_dump() for name, promise in row.promised.items()}
    return document


def sweep_answer(experiment: Experiment) -> Summary:
    """Return the summary of an experiment, as far as its sweep has come."""
    events = read(experiment.events)
    return summarise(experiment, experiment.config(), Records(events), events)


def sweep_state(experiment: Experiment, records: Records) -> str:
    """Return the sweep's state from the log. If the log says `running` but no driver runs, return `interrupted`."""
    return "interrupted" if records.state == "running" and not is_running(experiment.folder) else records.state


def summarise(experiment: Experiment, config: SweepConfig, records: Records, events: Sequence[Event]) -> Summary:
    """Return the summary of a sweep or a retraining, whatever its state."""
    metric, names = config.metric.name, [one.name for one in config.metrics]
    trials = list(records.trials.values())
    fresh = FreshValues(ranked(trials, metric), metric)
    leaders = measured_front(trials, names) if names else []
    plan = config.retraining
    winner = leaders[0] if leaders else best(trials, metric, plan)
    best_one = best_result(trials, metric, plan) if plan else trial_result(winner, metric, fresh) if winner else None
    failed = next((record for record in trials if record.failed_for_good), None)
    return Summary(
        experiment=str(experiment.folder),
        name=config.name,
        state=sweep_state(experiment, records),
        trials=dict(sorted(Counter(record.state for record in records.searched).items())),
        trained_again=sum(record.state == "completed" for record in trials if record.retrains),
        metric=config.metric,
        metrics=config.objectives,
        searched=[*config.parameters],
        best=best_one,
        front=[front_trial(record, trials, names) for record in leaders],
        answer=_answer(config, records, events, winner, fresh) if winner and not plan else None,
        features=records.features,
        cost=records.cost(),
        forecast=records.forecast,
        warnings=[*plan_warnings(config), *sample_warnings(records, best_one, metric)],
        retraining=retrained(config, plan, records) if plan else None,
        first_failure=Failure(failed.id, failed.failures[-1].message) if failed else None,
        sampler=config.search.sampler,
        storage=config.storage,
        budgets=_budgets(config),
    )


def _budgets(config: SweepConfig) -> dict[str, dict[str, int]]:
    sweep, again = config.evaluation, config.recheck
    return {
        "sweep": {"samples": sweep.final_samples, "nfe": sweep.nfe},
        "recheck": {"samples": again.samples, "nfe": again.nfe},
    }


def _answer(
    config: SweepConfig, records: Records, events: Sequence[Event], winner: TrialRecord, fresh: FreshValues
) -> Answer:
    metric, trials = config.metric.name, list(records.trials.values())
    rechecked = [record for record in ranked(trials, metric) if fresh.get(record.id)]
    verdicts = rung_verdicts(events, config.rungs, metric, config.constants)
    completed = winner.state == "completed"
    return Answer(
        kid_blurs=blurs(winner),
        scale=records.scale if metric == "kid" else {},
        baseline=best_baseline(trials, winner, fresh, config.constants),
        rechecked=[recheck_row(record, fresh) for record in rechecked],
        tied=fresh.tied_with(winner.id) if fresh.get(winner.id) else [],
        optimism=optimism(rechecked, metric),
        rungs=verdicts,
        grace_kimg=next_grace(verdicts, config.rungs),
        at_bounds=at_bounds(config, trial_result(winner, metric).params) if completed else [],
        disagreement=_disagreement(trials, winner, metric),
        importances=_importances(config, records),
    )


def _importances(config: SweepConfig, records: Records) -> dict[str, Share] | None:
    if records.counts["completed"] < LEAST_COMPLETED or config.metrics:
        return None
    from tune_app.answer.importance import importances  # imports optuna, which `status` does not need

    return importances(config, records.searched)


def _disagreement(trials: list[TrialRecord], winner: TrialRecord, metric: str) -> str | None:
    order = [record.id for record in ranked(trials, "kid_alt")] if metric == "kid" else []
    if winner.id not in order[AGREEING:]:
        return None
    rank = order.index(winner.id) + 1
    return (
        f"by kid_alt, which uses the other feature set, trial {winner.id} has rank {rank} of {len(order)}: "
        "look at its samples"
    )
