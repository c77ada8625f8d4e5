"""What a sweep's answer is worth: the winner by fresh seeds, who ties with it, and what to doubt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from math import hypot
from typing import Any

from trainables.catalog import MODELS, sign
from tune_app.answer.bounds import near_bounds
from tune_app.answer.rungs import next_grace, rung_verdicts
from tune_app.config.schema import SweepConfig
from tune_app.experiment.log import Event
from tune_app.experiment.records import Records, TrialRecord, best, describe, estimate, front, ranked

TIED = 2.0
"""Standard errors within which two trials are not told apart."""
LEAST_COMPLETED = 8
AGREEING = 3
"""Under the other feature set the winner is to be among so many."""


def summarise(config: SweepConfig, records: Records, events: Sequence[Event]) -> dict[str, Any]:
    """summary.json: counts by state, the best trial, what was spent, and what the answer is worth."""
    metric = config.metric.name
    trials = list(records.trials.values())
    leaders = front(trials, [one.name for one in config.metrics]) if config.metrics else []
    winner = leaders[0] if leaders else best(trials, metric)
    return {
        "name": config.name,
        "state": records.state,
        "trials": {state: count for state, count in sorted(records.counts.items()) if count},
        "metric": config.metric.model_dump(),
        "metrics": [one.model_dump() for one in config.objectives],
        "best": winner and describe(winner, metric),
        "front": [
            {**describe(record, metric), "values": {one.name: record.value(one.name) for one in config.metrics}}
            for record in leaders
        ],
        "answer": winner and _answer(config, records, events, winner),
        "features": records.features,
        "cost": records.cost(),
        "warnings": warnings(config),
    }


def warnings(config: SweepConfig) -> list[str]:
    """Why the metric of a sweep may mislead."""
    known = MODELS[config.model].metrics
    alone = config.objectives[:1]  # beside kid a number may be what kid does not see
    return [f"metric {one.name}: {why}" for one in alone if (why := known[one.name].warning)]


def _answer(config: SweepConfig, records: Records, events: Sequence[Event], winner: TrialRecord) -> dict[str, Any]:
    metric, trials = config.metric.name, list(records.trials.values())
    again = [record for record in ranked(trials, metric) if record.recheck and record.recheck.estimate(metric)]
    verdicts = rung_verdicts(events, config.rungs, metric)
    shares = None
    if records.counts["completed"] >= LEAST_COMPLETED and not config.metrics:
        from tune_app.answer.importance import importances  # optuna, which a look at a running sweep does without

        shares = importances(config, trials)
    return {
        "rechecked": [_row(record, metric) for record in again],
        "tied": [record.id for record in again if record is not winner and _tied(record, winner, metric)],
        "optimism": _optimism(again, metric),
        "rungs": [asdict(verdict) for verdict in verdicts],
        "grace_kimg": next_grace(verdicts, config.rungs),
        "at_bounds": near_bounds(config, describe(winner, metric)["params"]) if winner.state == "completed" else [],
        "disagreement": _disagreement(trials, winner, metric),
        "importances": shares and {name: {"share": share, "sd": sd} for name, (share, sd) in shares.items()},
    }


def _row(record: TrialRecord, metric: str) -> dict[str, Any]:
    assert record.recheck
    found, same = record.recheck.estimate(metric), estimate(record.recheck.same, metric)
    assert found
    return {
        "trial": record.id,
        "value": found[0],
        "stderr": found[1],
        "sweep_value": record.value(metric),
        "sweep_value_again": same and same[0],
    }


def _tied(record: TrialRecord, winner: TrialRecord, metric: str) -> bool:
    """Whether the difference of the two means is below TIED of its standard errors."""
    one, other = (trial.recheck.estimate(metric) if trial.recheck else None for trial in (record, winner))
    return bool(one and other) and abs(one[0] - other[0]) < TIED * hypot(one[1], other[1])  # type: ignore[index]


def _optimism(again: list[TrialRecord], metric: str) -> float | None:
    """How much better the sweep's leader looked than it is at the same budget with fresh seeds."""
    if not again or not again[0].recheck:
        return None
    same, claimed = estimate(again[0].recheck.same, metric), again[0].value(metric)
    return None if same is None or claimed is None else sign(metric) * (same[0] - claimed)


def _disagreement(trials: list[TrialRecord], winner: TrialRecord, metric: str) -> str | None:
    """A sentence where the other feature set does not see the winner in front."""
    if metric != "kid":
        return None
    order = [record.id for record in ranked(trials, "kid_alt")]
    if winner.id not in order[AGREEING:]:
        return None
    place = order.index(winner.id) + 1
    return (
        f"by kid_alt, on the other features, trial {winner.id} is number {place} of {len(order)}: look at its samples"
    )
