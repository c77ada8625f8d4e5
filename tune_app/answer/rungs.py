"""How well each rung predicted the end of a sweep, and the grace_kimg to use next time.

The verdicts come from the log alone. Only trials that reached the end can be compared. A rung that stopped many trials
is therefore judged by the few that it let through, whose ranks agree less than those of all trials would.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from search_spaces.distributions import Scalar
from tune_app.experiment.elsewhere import lies_elsewhere
from tune_app.experiment.events import Asked, Event, Reported

LEAST_TRIALS = 4
PREDICTS = 0.5
"""A rung predicts the end if its Spearman correlation with the end is at least this."""


@dataclass(frozen=True)
class RungVerdict:
    """How well one rung below the last predicted the last."""

    kimg: float
    trials: int
    """Trials with a value at this rung and at the last one."""
    spearman: float | None
    """Correlation of the two values; None below LEAST_TRIALS trials, or if either value is the same for all."""
    trusted_after: int | None
    """Trials that had reported at the last rung when this one was first trusted; None if it never was."""


def rung_verdicts(
    events: Sequence[Event], rungs: Sequence[float], metric: str, constants: Mapping[str, Scalar]
) -> list[RungVerdict]:
    """Return a verdict on each of the ascending `rungs` but the last. A trial's first value at a rung counts.

    A baseline that differs from `constants` lies outside the search space, and is left out.
    """
    outside = {one.trial for one in events if isinstance(one, Asked) and lies_elsewhere(one.params, constants)}
    values: dict[float, dict[str, float]] = {rung: {} for rung in rungs}
    trusted: dict[float, int] = {}
    for event in events:
        if not isinstance(event, Reported) or not event.rung or event.kimg not in values or event.trial in outside:
            continue
        if event.trusted:
            trusted.setdefault(event.kimg, len(values[rungs[-1]]))
        value = event.metrics.get(metric)
        if value is not None:
            values[event.kimg].setdefault(event.trial, value)
    return [_verdict(rung, values[rung], values[rungs[-1]], trusted.get(rung)) for rung in rungs[:-1]]


def next_grace(verdicts: Sequence[RungVerdict], rungs: Sequence[float]) -> float | None:
    """Return the first rung from which on all rungs predict the end.

    Return the last rung if none predicts, and None if a rung cannot be judged.
    """
    correlations = [verdict.spearman for verdict in verdicts if verdict.spearman is not None]
    if not correlations or len(correlations) < len(verdicts):
        return None
    grace = rungs[-1]
    for verdict, spearman in zip(reversed(verdicts), reversed(correlations), strict=True):
        if spearman < PREDICTS:
            break
        grace = verdict.kimg
    return grace


def rung_lines(verdicts: Sequence[RungVerdict], rungs: Sequence[float]) -> list[str]:
    """Return the verdicts as sentences, a warning after each rung that does not predict, and advice."""
    lines = [line for verdict in verdicts for line in _sentences(verdict)]
    grace = next_grace(verdicts, rungs)
    if grace is None:
        return lines
    if grace < rungs[-1]:
        return [*lines, f"grace_kimg to use next time: {grace:g}"]
    misleading = all(verdict.spearman is not None and verdict.spearman < PREDICTS for verdict in verdicts)
    which = "no rung predicts" if misleading else f"the rung at {verdicts[-1].kimg:g} kimg does not predict"
    return [*lines, f"{which} the end: use scheduler.type none, or a later grace_kimg"]


def _verdict(rung: float, early: dict[str, float], final: dict[str, float], trusted_after: int | None) -> RungVerdict:
    trials = [trial for trial in final if trial in early]
    left, right = [early[trial] for trial in trials], [final[trial] for trial in trials]
    if len(trials) < LEAST_TRIALS or len(set(left)) == 1 or len(set(right)) == 1:
        return RungVerdict(rung, len(trials), None, trusted_after)
    from scipy.stats import spearmanr  # takes half a second to import

    return RungVerdict(rung, len(trials), float(spearmanr(left, right).statistic), trusted_after)


def _sentences(verdict: RungVerdict) -> list[str]:
    rung, trials = f"rung at {verdict.kimg:g} kimg", f"{verdict.trials} trial{'s' * (verdict.trials != 1)}"
    trusted = {None: "never trusted", 0: "trusted from the start"}.get(
        verdict.trusted_after, f"trusted after {verdict.trusted_after}"
    )
    if verdict.spearman is None:
        few = verdict.trials < LEAST_TRIALS
        why = f"only {trials} reached the end" if few else f"the {trials} that reached the end have equal values"
        return [f"{rung}: not judged, because {why}; {trusted}"]
    lines = [f"{rung}: Spearman {verdict.spearman:.2f} with the end over {trials}, {trusted}"]
    if verdict.spearman < PREDICTS:
        harm = "it stopped no trial" if verdict.trusted_after is None else "it may have stopped good trials"
        lines.append(f"warning: the {rung} hardly predicts the end (Spearman below {PREDICTS:g}); {harm}")
    return lines
