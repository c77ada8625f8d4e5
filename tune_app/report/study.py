"""An Optuna study in memory, so that Optuna's own charts can show a sweep."""

from collections.abc import Iterable

import optuna
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from search_spaces.to_optuna import distribution
from trainables.catalog import sign
from tune_app.config.schema import SweepConfig
from tune_app.experiment.records import TrialRecord

STATES = {"completed": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "failed": TrialState.FAIL}


def study_of(config: SweepConfig, records: Iterable[TrialRecord]) -> optuna.Study:
    """Return a study of the ended trials with the value of their last rung, and the number of the trial as theirs."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        direction = StudyDirection.MINIMIZE if sign(config.metric.name) > 0 else StudyDirection.MAXIMIZE
        study = optuna.create_study(storage=optuna.storages.InMemoryStorage(), direction=direction)
    finally:
        optuna.logging.set_verbosity(verbosity)
    for record in records:
        value = record.value(config.metric.name)
        if record.state not in STATES or value is None:
            continue
        params = searched_values(config, record)
        study.add_trial(
            create_trial(
                state=STATES[record.state],
                value=value if record.state == "completed" else None,
                params=params,
                distributions={name: distribution(config.parameters[name]) for name in params},
                user_attrs={"trial": record.id},
            )
        )
    return study


def searched_values(config: SweepConfig, record: TrialRecord) -> dict[str, bool | int | float | str]:
    """Return a trial's values of the searched parameters, with the sampling setting of its last rung."""
    chosen = {**record.params, **(record.rungs[-1].sampling if record.rungs else {})}
    return {
        name: chosen[name] for name, p in config.parameters.items() if name in chosen and not p.complaint(chosen[name])
    }
