"""The cost of a trial, read from the log of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median

from trainables.catalog import MODELS
from tune_app.config.schema import SweepConfig
from tune_app.experiment.events import Reported
from tune_app.experiment.forecast import TrialCost
from tune_app.experiment.records import Records, TrialRecord
from tune_app.plan import FINAL_SETTINGS, RUNG_SETTINGS

UNKNOWN = TrialCost(kimg=0.0)


def logged_cost(config: SweepConfig, trials: Sequence[TrialRecord], expected: TrialCost = UNKNOWN) -> TrialCost | None:
    """Return the mean cost of trials of the sweep `config`, or None if none has reported.

    Evaluations that have not happened yet cost what is `expected`.
    """
    trained = sum(record.kimg for record in trials)
    if not trained:
        return None
    training = sum(_training_seconds(report) for record in trials for report in record.reports)
    end = config.scheduler.max_kimg
    evaluations = [(report.kimg >= end, _evaluation_seconds(report)) for record in trials for report in record.rungs]
    rungs = [seconds for last, seconds in evaluations if not last]
    ends = [seconds for last, seconds in evaluations if last]
    final = median(ends) if ends else expected.final
    again = [record.recheck.seconds for record in trials if record.recheck]
    return TrialCost(
        kimg=training / trained,
        rung=fmean(rungs) if rungs else expected.rung,
        final=final,
        recheck=fmean(again) if again else _recheck_seconds(config, trials, final) if ends else expected.recheck,
    )


def scaled_cost(cost: TrialCost, theirs: SweepConfig, ours: SweepConfig) -> TrialCost:
    """Return the cost with the evaluations of `ours`, from the cost in a sweep with the evaluations of `theirs`.

    An evaluation costs in proportion to the network evaluations of its samples.
    """
    before, now = _work(theirs), _work(ours)
    ratios = [now[part] / before[part] if before[part] else 0.0 for part in ("rung", "final", "recheck")]
    scaled = zip(("rung", "final", "recheck"), ratios, strict=True)
    return cost.model_copy(update={part: getattr(cost, part) * ratio for part, ratio in scaled})


def phase_seconds(records: Records) -> float:
    """Return the seconds from the start of the log until the first trial trained, or 0 if the log does not say."""
    first = next((record.reports[0] for record in records.trials.values() if record.reports), None)
    return max(0.0, 3600 * first.hours - first.seconds) if first and first.hours is not None else 0.0


def _training_seconds(report: Reported) -> float:
    return max(0.0, report.seconds - _evaluation_seconds(report))


def _evaluation_seconds(report: Reported) -> float:
    return report.metrics.get("evaluation_seconds") or 0.0 if report.rung else 0.0


def _recheck_seconds(config: SweepConfig, trials: Sequence[TrialRecord], final: float) -> float:
    """Return the seconds of a re-evaluation, from those of an evaluation at max_kimg."""
    at_once = all(record.rungs[-1].metrics.get("nfe") == 1 for record in trials if record.rungs)
    work = _work(config, at_once=at_once)
    return final * work["recheck"] / work["final"] if MODELS[config.model].uses_images else 0.0


def _work(config: SweepConfig, *, at_once: bool = False) -> dict[str, float]:
    """Return the network evaluations of each kind of evaluation. `at_once`: a sample costs one, as with a VAE."""
    once, again = config.evaluation, config.recheck
    nfe, more = (1, 1) if at_once else (once.nfe, again.nfe)
    rung, final = (len(config.space.sampling_grid(most)) for most in (RUNG_SETTINGS, FINAL_SETTINGS))
    pilot = final * min(again.samples, once.samples) * more if final > 1 else 0
    return {
        "rung": rung * once.samples * nfe,
        "final": final * once.final_samples * nfe,
        "recheck": again.draws * (again.samples * more + once.final_samples * nfe) + pilot,
    }
