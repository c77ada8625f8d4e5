"""The time that a sweep still takes."""

from statistics import median

from trainables.catalog import MODELS
from tune_app.config.schema import SweepConfig
from tune_app.experiment.records import Records
from tune_app.plan import FINAL_SETTINGS, settings_trained_again, trial_count


def seconds_left(config: SweepConfig, records: Records, slots: int) -> float | None:
    """Return the seconds left if no more trial is stopped early, or None before the first report."""
    trials = records.trials.values()
    trained = sum(record.kimg for record in trials)
    if not trained:
        return None
    seconds_per_kimg = sum(record.seconds for record in trials) / trained
    length = config.scheduler.max_kimg
    left = sum(length - record.kimg for record in trials if not record.ended)
    left += length * max(0, trial_count(config, records.added) - len(records.searched))
    if MODELS[config.model].uses_images and not config.metrics and config.recheck.trials:
        again = sum(len(record.retrainings) for record in records.searched)
        left += length * max(0, config.recheck.seeds * settings_trained_again(config) - again)
    return (seconds_per_kimg * left + _recheck_seconds(config, records)) / slots


def _recheck_seconds(config: SweepConfig, records: Records) -> float:
    """Return an estimate from the trials' last evaluations, or 0 if no trial has completed."""
    last = [r.rungs[-1].metrics.get("evaluation_seconds") for r in records.trials.values() if r.state == "completed"]
    seconds = [value for value in last if value is not None]
    if not seconds or not MODELS[config.model].uses_images:
        return 0.0
    once, again = config.evaluation, config.recheck
    settings = len(config.space.sampling_grid(FINAL_SETTINGS))
    drawn_at_once = all(r.rungs[-1].metrics.get("nfe") == 1 for r in records.trials.values() if r.rungs)
    nfe, more = (1, 1) if drawn_at_once else (once.nfe, again.nfe)  # a VAE's sample costs one evaluation
    per_network_evaluation = median(seconds) / (settings * once.final_samples * nfe)
    draws = again.draws * (again.samples * more + once.final_samples * nfe)
    pilot = settings * min(again.samples, once.samples) * more if settings > 1 else 0
    left = again.trials + bool(config.baselines) + again.seeds * settings_trained_again(config)
    left -= sum(record.recheck is not None for record in records.trials.values())
    return max(0, left) * (draws + pilot) * per_network_evaluation
