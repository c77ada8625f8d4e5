"""The configuration keys that may change when a sweep is resumed, and the message for those that may not."""

from collections.abc import Mapping

from pydantic import JsonValue

from search_spaces.distributions import Categorical, same
from trainables.catalog import MODELS
from tune_app.config.checks import parameter_complaint
from tune_app.config.schema import SweepConfig
from tune_app.errors import ConfigError, InputError, Problem
from tune_app.experiment.folder import Experiment
from tune_app.experiment.records import Records

MAY_CHANGE = ("search.trials", "data.path", "budget", "resources", "failures", "recheck", "wandb", "notify")
"""Keys that decide how long and on what a sweep runs. All other keys decide what the trials' numbers mean."""

Changes = dict[str, list[JsonValue]]


def accepted_changes(before: SweepConfig, after: SweepConfig) -> Changes:
    """Return each key that differs, with both values. Raise ConfigError with a line for each that may not change."""
    changes = _differences(before.model_dump(mode="json"), after.model_dump(mode="json"))
    refused = [key for key in changes if not any(key == free or key.startswith(f"{free}.") for free in MAY_CHANGE)]
    if refused:
        problems = [
            Problem(key, f"the experiment started with {_shown(changes[key][0])}, now it is {_shown(changes[key][1])}")
            for key in refused
        ]
        last = problems.pop()
        hint = f"start a new experiment to change this; a resumed one may change {', '.join(MAY_CHANGE)}"
        raise ConfigError(*problems, Problem(last.where, last.message, hint))
    return changes


def check_trials(experiment: Experiment, records: Records, config: SweepConfig) -> None:
    """Raise InputError if a logged trial has parameters that the configuration does not allow, or if too many exist."""
    planned = len(records.searched) - records.added
    if config.search.trials < planned:
        raise InputError(
            f"search.trials: {config.search.trials} is less than the {planned} trials that exist",
            hint="`tune_app stop EXP` ends a running sweep",
        )
    known = {**config.space.training, **{name: Categorical(choices=(v,)) for name, v in config.fixed.items()}}
    any_value = MODELS[config.model].parameters
    for record in records.trials.values():
        baseline = records.trials[record.retrains or record.id].source == "baseline"
        for name, value in record.params.items():
            if baseline and name not in config.space.training and name in any_value:
                complaint = parameter_complaint(any_value[name], value)
            else:
                complaint = known[name].complaint(value) if name in known else "is not searched"
            if complaint:
                raise InputError(
                    f"{experiment.events}: trial {record.id} does not belong to this sweep: {name} {complaint}"
                )


def check_model(experiment: Experiment, records: Records, config: SweepConfig) -> None:
    """Raise InputError if the model gives other numbers now than when the experiment started."""
    now = MODELS[config.model].version
    names = sorted(records.constants.keys() & config.constants.keys())
    differing = [
        f"{name} was {_shown(records.constants[name])}, now it is {_shown(config.constants[name])}"
        for name in names
        if not same(records.constants[name], config.constants[name])
    ]
    if records.model_version not in (None, now):
        differing.append(f"its code has version {now} instead of {records.model_version}")
    if differing:
        raise InputError(
            f"{experiment.folder}: {config.model} has changed since the experiment started: {'; '.join(differing)}",
            hint=f"resume with tune_app {records.versions.get('tune_app', 'of that time')}, or start a new experiment",
        )


def changed_versions(records: Records, now: Mapping[str, str]) -> Changes:
    """Return the libraries whose version has changed since the last session, with both versions."""
    return {
        f"version of {name}": [records.versions[name], now[name]]
        for name in sorted(records.versions.keys() & now.keys())
        if records.versions[name] != now[name]
    }


def _differences(before: JsonValue, after: JsonValue, key: str = "") -> Changes:
    if isinstance(before, dict) and isinstance(after, dict):
        changes: Changes = {}
        for name in [*before, *(name for name in after if name not in before)]:
            path = f"{key}.{name}" if key else name
            changes.update(_differences(before.get(name), after.get(name), path))
        return changes
    return {} if before == after and type(before) is type(after) else {key: [before, after]}


def _shown(value: JsonValue) -> str:
    if value is None:
        return "nothing"
    return f"{value:g}" if isinstance(value, float) else str(value)
