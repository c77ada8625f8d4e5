"""Trials of earlier experiments that inform the sampler of a new sweep and are not run again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from search_spaces.distributions import Scalar, same
from trainables.catalog import MODELS, sign
from trainables.contract import SAMPLE_METRICS
from tune_app.config.schema import SweepConfig
from tune_app.errors import InputError
from tune_app.experiment.events import EarlierTrial
from tune_app.experiment.folder import Experiment
from tune_app.experiment.out_folder import find
from tune_app.experiment.records import Records, TrialRecord

MOST_BEST, MOST_NEWEST = 100, 400
"""Numbers of best and of newest trials that are kept if there are more. A sampler looks at no more."""


@dataclass(frozen=True)
class Earlier:
    """The trials that inform the sampler, and a line for each experiment on what was left out."""

    trials: list[EarlierTrial]
    lines: list[str]


def with_earlier_found(config: SweepConfig, out: Path) -> SweepConfig:
    """Return `config` with absolute paths in `search.warm_start`. Raise InputError if an experiment cannot be read."""
    folders = [str(_found(where, out).folder) for where in config.search.warm_start]
    return _with_folders(config, [*dict.fromkeys(folders)])


def with_earlier_of(before: SweepConfig, config: SweepConfig) -> SweepConfig:
    """Return `config` with the folders that the sweep started with where it names them in another way.

    The log holds their trials, so they need not exist any more, and `latest` does not mean a newer one.
    """
    given, folders = config.search.warm_start, before.search.warm_start
    if len(given) == len(folders) and all(map(_names, given, folders)):
        return _with_folders(config, folders)
    return config


def earlier_trials(config: SweepConfig, data: str, features: Mapping[str, str]) -> Earlier:
    """Return what the sweep can learn from `search.warm_start`. `data` and `features` are its own fingerprints."""
    trials: list[EarlierTrial] = []
    lines = []
    for where in config.search.warm_start:
        experiment = _found(where, Path())
        name, records = experiment.folder.name, experiment.read_records()
        other = experiment.logged_config(records)
        if reasons := [*_differences(config, data, features, other, records)]:
            lines.append(f"warm start: no trial of {name} informs the sampler: {', '.join(reasons)}")
            continue
        found, left_out = _of_experiment(config, experiment, other, records)
        trials += found
        count = len(found) + left_out.total()
        reasons = [f"{many}: {reason}" for reason, many in left_out.most_common()]
        lines.append(f"warm start: {len(found)} of {count} trials of {name} inform the sampler")
        lines += [f"  left out {'; '.join(reasons)}"] if reasons else []
    kept = _best_and_newest(trials, config.metric.name)
    if len(kept) < len(trials):
        lines.append(f"  the best {MOST_BEST} and the newest {MOST_NEWEST} are used")
    return Earlier(kept, lines)


def _found(where: str, out: Path) -> Experiment:
    """Return the experiment if its log can be read and holds a configuration."""
    try:
        experiment = find(str(Path(where).expanduser()), out)
        records = experiment.read_records()
        if not records.config:
            raise InputError(f"{experiment.folder}: the log does not hold the configuration")
        experiment.logged_config(records)
    except InputError as error:
        raise InputError(f"search.warm_start: {error.message}", error.hint) from None
    return experiment


def _with_folders(config: SweepConfig, folders: list[str]) -> SweepConfig:
    search = config.search.model_copy(update={"warm_start": folders})
    return config.model_copy(update={"search": search})


def _names(given: str, folder: str) -> bool:
    return given == "latest" or Path(given).name == Path(folder).name


def _differences(
    config: SweepConfig, data: str, features: Mapping[str, str], other: SweepConfig, records: Records
) -> Iterator[str]:
    """Yield why the values of the earlier experiment do not compare with those of the new sweep."""
    if other.model != config.model:
        yield f"another model ({other.model})"
        return
    metrics, theirs = ([one.name for one in of.objectives] for of in (config, other))
    if metrics != theirs:
        yield f"another metric ({' and '.join(theirs)})"
    if records.data != data:
        yield "other images"
    elif records.features != features:
        yield "other features"
    if records.model_version not in (None, MODELS[config.model].version):
        yield f"version {records.model_version} of the model"
    if MODELS[config.model].uses_images and records.sample_metrics != SAMPLE_METRICS:
        yield f"version {records.sample_metrics} of the sample metrics"
    if other.scheduler.max_kimg != config.scheduler.max_kimg:
        yield f"another max_kimg ({other.scheduler.max_kimg:g})"
    if MODELS[config.model].uses_images and other.evaluation.nfe != config.evaluation.nfe:
        yield f"another evaluation.nfe ({other.evaluation.nfe})"
    for name, p in config.space.sampling.items():
        if other.space.sampling.get(name) != p:
            yield f"{name} is not searched in the same way inside each evaluation"


def _of_experiment(
    config: SweepConfig, experiment: Experiment, other: SweepConfig, records: Records
) -> tuple[list[EarlierTrial], Counter[str]]:
    """Return the trials that can be used, and the number of the others for each reason."""
    found: list[EarlierTrial] = []
    left_out: Counter[str] = Counter()
    for record in records.trials.values():
        params = {**other.constants, **record.params}
        if reason := _trial_reason(config, record, params):
            left_out[reason] += 1
            continue
        space, names = config.space, [one.name for one in config.objectives]
        assert record.state in ("completed", "stopped")
        trial = {
            "experiment": str(experiment.folder),
            "trial": record.id,
            "state": record.state,
            "params": {name: params[name] for name in space.training if space.active(name, params)},
            "rungs": [[rung.kimg, *(rung.metrics[name] for name in names)] for rung in record.rungs],
        }
        found.append(EarlierTrial.model_validate(trial))
    return found, left_out


def _trial_reason(config: SweepConfig, record: TrialRecord, params: Mapping[str, Scalar]) -> str:
    """Return why a trial cannot inform the sampler, or an empty string. `params` are all its values."""
    if record.retrains:
        return "a setting that was trained again"
    if record.state == "failed":
        return "failed"
    if not record.ended:
        return "not finished"
    if record.state == "stopped" and config.metrics:
        return "stopped before its end, with two objectives"
    values = [rung.metrics.get(one.name) for rung in record.rungs for one in config.objectives]
    if not values or None in values:
        return "stopped before its first rung" if not values else "no value at a rung"
    return misfit(config, params)


def misfit(config: SweepConfig, params: Mapping[str, Scalar]) -> str:
    """Return why no trial of the sweep could have these values, or an empty string. `params` are all its values."""
    for name, value in config.constants.items():
        if name not in params:
            return f"{name} is searched there inside each evaluation"
        if not same(params[name], value):
            return f"{name} is not {value}"
    return _outside(config, params)


def _outside(config: SweepConfig, params: Mapping[str, Scalar]) -> str:
    """Return why the search space does not hold the values, or an empty string."""
    for name, p in config.space.training.items():
        if not config.space.active(name, params):
            continue
        if name not in params:
            return f"{name} is missing"
        if complaint := p.complaint(params[name]):
            return f"{name} {complaint.partition(', not ')[0]}"
    return ""


def _best_and_newest(trials: list[EarlierTrial], metric: str) -> list[EarlierTrial]:
    if len(trials) <= MOST_BEST + MOST_NEWEST:
        return trials
    oldest = range(len(trials) - MOST_NEWEST)
    completed = [number for number in oldest if trials[number].state == "completed"]
    best = sorted(completed, key=lambda number: sign(metric) * trials[number].rungs[-1][1])[:MOST_BEST]
    return [trials[number] for number in sorted(best)] + trials[len(oldest) :]
