"""The trials that the end of a sweep looks at again: which to re-evaluate, and which settings to train again."""

from trainables.catalog import MODELS
from tune_app.config.schema import SweepConfig
from tune_app.experiment.fresh_values import FreshValues
from tune_app.experiment.ranking import front, ranked
from tune_app.experiment.records import Records, TrialRecord
from tune_app.plan import TRAINED_AGAIN


def to_recheck(config: SweepConfig, records: Records) -> list[TrialRecord]:
    """Return the completed trials that wait for their re-evaluation.

    They are the best ones, or the first ones of the Pareto front, the best baseline, so that the answer can say how
    much better the winner is, and the trainings with fresh seeds.
    """
    if not MODELS[config.model].uses_images or not config.recheck.trials:
        return []
    completed = [record for record in records.trials.values() if record.state == "completed"]
    names, metric = [one.name for one in config.metrics], config.metric.name
    order = front(completed, names) if names else ranked(completed, metric)
    chosen = order[: config.recheck.trials]
    baseline = next((record for record in ranked(completed, metric) if record.source == "baseline"), None)
    with_baseline = [*chosen, *([baseline] if chosen and baseline and baseline not in chosen else [])]
    return [record for record in (*with_baseline, *(r for r in completed if r.retrains)) if not record.recheck]


def to_retrain(config: SweepConfig, records: Records) -> list[str]:
    """Return the trials whose setting to train again, each as often as trainings are missing.

    They are the best two and the best baseline by fresh seeds. Every setting gets its first training before one gets
    its second, so that an interrupted sweep can compare them.
    """
    if config.metrics or not config.recheck.seeds:
        return []
    fresh = FreshValues(records.trials.values(), config.metric.name)
    order = fresh.ranked()
    baseline = [record for record in order if record.source == "baseline"][:1]
    chosen = [*order[:TRAINED_AGAIN], *(record for record in baseline if record not in order[:TRAINED_AGAIN])]
    return [
        record.id
        for training in range(config.recheck.seeds)
        for record in chosen
        if len(record.retrainings) <= training
    ]
