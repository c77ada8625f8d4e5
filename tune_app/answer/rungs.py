"""What a finished sweep tells of its rungs: which of them predicted the end, and where to begin next time.

Pure, from the log alone. Only trials that reached the end can be compared, so a rung that stopped many is judged by
the few it let through, whose ranks agree less than those of all would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from tune_app.experiment.log import Event

LEAST_TRIALS = 4
PREDICTS = 0.5
"""Spearman with the end from which a rung is taken to predict it."""


@dataclass(frozen=True)
class RungVerdict:
    """How well one rung below the last predicted the last."""

    kimg: float
    trials: int
    """Those with a value there and at the last rung."""
    spearman: float | None
    """Of those two values; None below LEAST_TRIALS, or where either is the same for all."""
    trusted_after: int | None
    """Trials that had reported at the last rung when this one was first trusted; None: it never was."""


def rung_verdicts(events: Sequence[Event], rungs: Sequence[float], metric: str) -> list[RungVerdict]:
    """A verdict on each of the ascending `rungs` but the last; a trial's first value at a rung counts."""
    values: dict[float, dict[str, float]] = {rung: {} for rung in rungs}
    trusted: dict[float, int] = {}
    for event in events:
        if event["event"] != "reported" or not event["rung"] or event["kimg"] not in values:
            continue
        if event.get("trusted"):
            trusted.setdefault(event["kimg"], len(values[rungs[-1]]))
        value = event["metrics"].get(metric)
        if value is not None and isfinite(value):
            values[event["kimg"]].setdefault(event["trial"], value)
    return [_verdict(rung, values[rung], values[rungs[-1]], trusted.get(rung)) for rung in rungs[:-1]]


def next_grace(verdicts: Sequence[RungVerdict], rungs: Sequence[float]) -> float | None:
    """The first rung from which on all predict the end; the last where none does; None where one cannot be judged."""
    known = [verdict.spearman for verdict in verdicts if verdict.spearman is not None]
    if not known or len(known) < len(verdicts):
        return None
    grace = rungs[-1]
    for verdict, spearman in zip(reversed(verdicts), reversed(known), strict=True):
        if spearman < PREDICTS:
            break
        grace = verdict.kimg
    return grace


def rung_lines(verdicts: Sequence[RungVerdict], rungs: Sequence[float]) -> list[str]:
    """The verdicts as sentences, a warning after each rung that does not predict, and what to do next time."""
    lines = [line for verdict in verdicts for line in _sentences(verdict)]
    grace = next_grace(verdicts, rungs)
    if grace is None:
        return lines
    if grace < rungs[-1]:
        return [*lines, f"grace_kimg to use next time: {grace:g}"]
    misleading = all(verdict.spearman is not None and verdict.spearman < PREDICTS for verdict in verdicts)
    which = "no rung predicts" if misleading else f"the rung at {verdicts[-1].kimg:g} kimg does not predict"
    return [*lines, f"{which} the end: use scheduler.type none, or a later grace_kimg"]


def _verdict(rung: float, there: dict[str, float], end: dict[str, float], trusted_after: int | None) -> RungVerdict:
    both = [trial for trial in end if trial in there]
    early, late = [there[trial] for trial in both], [end[trial] for trial in both]
    judged = len(both) >= LEAST_TRIALS and len(set(early)) > 1 and len(set(late)) > 1
    if not judged:
        return RungVerdict(rung, len(both), None, trusted_after)
    from scipy.stats import spearmanr  # takes half a second to import

    return RungVerdict(rung, len(both), float(spearmanr(early, late).statistic), trusted_after)


def _sentences(verdict: RungVerdict) -> list[str]:
    where, trials = f"rung at {verdict.kimg:g} kimg", f"{verdict.trials} trial{'s' * (verdict.trials != 1)}"
    trusted = {None: "never trusted", 0: "trusted from the start"}.get(
        verdict.trusted_after, f"trusted after {verdict.trusted_after}"
    )
    if verdict.spearman is None:
        few = verdict.trials < LEAST_TRIALS
        why = f"{trials} went on to the end, too few" if few else f"{trials} without spread, nothing"
        return [f"{where}: {why} to compare it by, {trusted}"]
    lines = [f"{where}: Spearman {verdict.spearman:.2f} with the end over {trials}, {trusted}"]
    if verdict.spearman < PREDICTS:
        harm = "it stopped nobody" if verdict.trusted_after is None else "it may have stopped good trials"
        lines.append(f"warning: the {where} hardly predicts the end (Spearman below {PREDICTS:g}); {harm}")
    return lines
