"""The time that a sweep still takes."""

from __future__ import annotations

from typing import NamedTuple

from trainables.catalog import MODELS
from tune_app.config.schema import SweepConfig
from tune_app.costs import UNKNOWN, logged_cost, phase_seconds
from tune_app.experiment.forecast import TrialCost
from tune_app.experiment.records import Records
from tune_app.makespan import makespan
from tune_app.plan import settings_re_evaluated, settings_trained_again, trial_count


class Phase(NamedTuple):
    """Work that has to end before the next phase begins."""

    begun: bool
    """True if its processes have started."""
    left: list[list[float]]
    """Seconds of each piece of work that is left, in legs."""


def seconds_left(config: SweepConfig, records: Records, slots: int) -> float | None:
    """Return the seconds left if no more trial is stopped early, or None as long as nothing is known.

    They follow from what the sweep has measured so far. The forecast stands in for what it has not measured.
    """
    forecast = records.forecast
    expected = forecast.cost if forecast else None
    cost = logged_cost(config, list(records.trials.values()), expected or UNKNOWN) or expected
    if cost is None:
        return None
    start = phase_seconds(records) or (forecast.phase_seconds if forecast else 0.0)
    phases = [phase for phase in _phases(config, records, cost) if phase.left]
    return sum(makespan(phase.left, slots).seconds + (0.0 if phase.begun else start) for phase in phases)


def _phases(config: SweepConfig, records: Records, cost: TrialCost) -> list[Phase]:
    """Return the search, the re-evaluation, the trainings with fresh seeds, and their re-evaluation."""
    length, searched = config.scheduler.max_kimg, records.searched
    again = [record for record in records.trials.values() if record.retrains]
    search = [cost.legs(config.rungs, record.kimg) for record in searched if not record.ended and record.kimg < length]
    search += [cost.legs(config.rungs)] * (trial_count(config, records.added) - len(searched))
    phases = [Phase(any(record.reports for record in searched), search)]
    if not MODELS[config.model].uses_images or not config.recheck.trials:
        return phases
    rechecked = [record for record in searched if record.recheck]
    left = 0 if again else settings_re_evaluated(config) - len(rechecked)
    phases.append(Phase(bool(rechecked), [[cost.recheck]] * left))
    seeds = 0 if config.metrics else config.recheck.seeds
    known = sum(bool(record.retrainings) for record in searched)
    second = any(len(record.retrainings) > 1 for record in searched)  # then every setting has had its first training
    settings = known if second else settings_trained_again(config)
    retraining = [cost.legs([length], record.kimg) for record in again if not record.ended and record.kimg < length]
    retraining += [cost.legs([length])] * (seeds * settings - len(again))
    done = sum(record.recheck is not None for record in again)
    phases.append(Phase(bool(again), retraining))
    phases.append(Phase(bool(done), [[cost.recheck]] * (seeds * settings - done)))
    return phases
