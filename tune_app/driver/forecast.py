"""The forecast of a sweep from the costs of its trials, played through with and without early stopping."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice
from random import Random
from typing import NamedTuple

from trainables.catalog import MODELS
from tune_app.config.schema import SweepConfig
from tune_app.driver.asha import RungBook
from tune_app.driver.trust import trust_rule
from tune_app.experiment.forecast import Forecast, Stored, TrialCost, mean_cost
from tune_app.makespan import Span, makespan
from tune_app.plan import TRAINED_AGAIN, settings_re_evaluated, settings_trained_again, trial_count


class Basis(Stored):
    """What a forecast rests on."""

    name: str
    slots: int
    """Number of trials that run at once."""
    baselines: list[TrialCost]
    """Costs of the first trials of the sweep."""
    others: list[TrialCost]
    """Costs of some settings like those of the other trials."""
    start_seconds: float
    phase_seconds: float
    checkpoint_bytes: float
    picture_bytes: float
    """Pictures of one evaluation."""


class Played(NamedTuple):
    """Totals of a sweep that was played through."""

    seconds: float
    busy: float
    """Sum of the seconds of all trials, as the log counts them: without re-evaluations."""
    trials: float
    evaluations: float


MOST_PLAYED = 500
"""Trials that are played through if a sweep has more."""
NEWEST, AT_A_RUNG = 2, 1
"""Checkpoints of a trial that are kept: the newest two, and that of its best rung."""
FINISH_SECONDS = 4.0
"""Seconds to write the report and to end Ray."""
LOG_BYTES = 20_000
"""Lines of the log, of the study and of the report for one trial."""


def make_forecast(config: SweepConfig, basis: Basis) -> Forecast:
    """Return the forecast of a sweep."""
    least, most = _play(config, basis, stopping=True), _play(config, basis, stopping=False)
    hours = [played.seconds / 3600 for played in (least, most)]
    if config.budget.hours is not None:
        hours = [min(value, config.budget.hours) for value in hours]
    checkpoints = NEWEST + (AT_A_RUNG if len(config.rungs) > 1 else 0)
    disk = [
        played.trials * (kept * basis.checkpoint_bytes + LOG_BYTES) + played.evaluations * basis.picture_bytes
        for played, kept in ((least, NEWEST), (most, checkpoints))
    ]
    return Forecast(
        basis=basis.name,
        slots=basis.slots,
        hours=hours,
        gpu_hours=[played.busy / 3600 * config.resources.gpus for played in (least, most)],
        disk_bytes=disk,
        start_seconds=basis.start_seconds,
        phase_seconds=basis.phase_seconds,
        cost=mean_cost(_costs(config, basis)),
    )


def _costs(config: SweepConfig, basis: Basis) -> list[TrialCost]:
    """Return the costs of the trials of the search, or of the first ones if there are very many."""
    count = min(trial_count(config), MOST_PLAYED)
    first = list(basis.baselines[:count])
    return first + list(islice(cycle(basis.others or basis.baselines), count - len(first)))


def _play(config: SweepConfig, basis: Basis, *, stopping: bool) -> Played:
    """Play the sweep through. With `stopping`, every rung predicts the end, so that ASHA stops what it can."""
    costs = _costs(config, basis)
    many = trial_count(config) / len(costs)
    search, evaluations = _search(config, costs, basis.slots, stopping=stopping)
    training = [Span(many * search.seconds, many * search.busy)]
    evaluating: list[Span] = []
    trials, evaluations = many * len(costs), many * evaluations
    if MODELS[config.model].uses_images and config.recheck.trials:
        usual, length = mean_cost(costs), config.scheduler.max_kimg
        count = min(config.recheck.trials, len(costs)) if stopping else settings_re_evaluated(config)
        settings = min(TRAINED_AGAIN, len(costs)) if stopping else settings_trained_again(config)
        again = 0 if config.metrics else config.recheck.seeds * settings
        training.append(makespan([usual.legs([length])] * again, basis.slots))
        evaluating = [makespan([[usual.recheck]] * number, basis.slots) for number in (count, again)]
        trials, evaluations = trials + again, evaluations + count + 2 * again
    phases = [phase for phase in (*training, *evaluating) if phase.busy]
    seconds = basis.start_seconds + FINISH_SECONDS + sum(phase.seconds + basis.phase_seconds for phase in phases)
    return Played(seconds, sum(phase.busy for phase in training), trials, evaluations)


def _search(config: SweepConfig, costs: Sequence[TrialCost], slots: int, *, stopping: bool) -> tuple[Span, float]:
    """Return the time of the search and the number of its evaluations."""
    rule = trust_rule(config.scheduler.trust)
    book = RungBook(config.rungs, config.scheduler.reduction_factor, rule) if stopping else None
    quality = Random(config.search.seed).sample(range(len(costs)), len(costs))
    evaluated = 0

    def continues(trial: int, rung: int) -> bool:
        nonlocal evaluated
        evaluated += 1
        if book is None:
            return True
        protected = trial < len(config.baselines)
        verdict = book.report(str(trial), config.rungs[rung], float(quality[trial]), protected=protected)
        return verdict.decision == "continue"

    span = makespan([cost.legs(config.rungs) for cost in costs], slots, continues)
    return span, evaluated
