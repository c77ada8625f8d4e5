"""The configuration that trains settings of a finished sweep again: from scratch, in full, on all images but the test.

The driver runs it like any other experiment. Each setting is a baseline as often as there are seeds, no setting is
proposed, no trial is stopped early, and the only evaluation is the one at the end, on the test images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from search_spaces.distributions import Scalar, same
from trainables.catalog import MODELS, sign
from tune_app.config.load import Overrides
from tune_app.config.retraining_config import Promise, RetrainedSetting, RetrainingConfig
from tune_app.config.schema import RESUMED, BudgetConfig, EvaluationConfig, SweepConfig
from tune_app.errors import InputError
from tune_app.experiment.changes import accepted_changes, check_model
from tune_app.experiment.folder import Experiment
from tune_app.experiment.fresh_values import FreshValues
from tune_app.experiment.lock import is_running
from tune_app.experiment.model_code import load_code
from tune_app.experiment.out_folder import experiments
from tune_app.experiment.ranking import best, front, ranked
from tune_app.experiment.records import Records, TrialRecord
from tune_app.plan import plan_warnings

MOST_TRAININGS = 10_000
LONGEST_NAME = 64


@dataclass(frozen=True)
class RetrainRequest:
    """The settings to train again, and how often."""

    trials: tuple[str, ...] = ()
    """Trials whose settings to train. Empty: the best ones."""
    top: int = 1
    """Number of best settings."""
    with_baselines: bool = False
    """True trains the sweep's baselines in the same way."""
    seeds: int = 3
    """Trainings of each setting."""
    seed: int | None = None
    """Seed of every random draw. None: the sweep's plus 1."""
    name: str | None = None
    """Name of the new experiment. None: the sweep's with `-retrained`."""
    wandb: str | None = None
    sets: Mapping[str, str] = field(default_factory=dict)
    """Keys that a resumed sweep may change too, such as resources.cpu."""


def retraining_config(experiment: Experiment, request: RetrainRequest, out: Path) -> SweepConfig:
    """Return the configuration of the retraining, or raise InputError. Nothing is written.

    `out` is the folder in which earlier retrainings of the sweep are looked for.
    """
    before, records = experiment.config(), experiment.read_records()
    if before.retraining:
        sweep = before.retraining.experiment
        raise InputError(
            f"{experiment.folder}: this is a retraining of {sweep}",
            hint="name a sweep; `resume` continues a retraining",
        )
    load_code(experiment.folder)
    config = experiment.config(dict(request.sets))
    accepted_changes(before, config)
    check_model(experiment, records, config)
    settings = _settings(experiment, config, records, request)
    trials = [records.trials[setting.trial] for setting in settings]
    seed = (config.search.seed + 1) % 2**32 if request.seed is None else request.seed
    count = len(trials) * request.seeds
    if count > MOST_TRAININGS:
        raise InputError(f"{count} trainings are more than {MOST_TRAININGS}: lower --seeds or --top")
    fields = {
        **config.model_dump(mode="json", exclude={"profiles", "metrics", "metric"}),
        "name": request.name or f"{config.name[: LONGEST_NAME - len('-retrained')]}-retrained",
        "metric": config.objectives[0].model_dump(),
        "parameters": {
            name: {**p.model_dump(mode="json"), "stage": "training"} for name, p in config.parameters.items()
        },
        "baselines": [_values(config, record) for _ in range(request.seeds) for record in trials],
        "search": {"sampler": "random", "trials": count, "seed": seed, "warm_start": []},
        "scheduler": {**config.scheduler.model_dump(mode="json"), "type": "none", "rungs": None},
        "evaluation": _evaluation(config, records).model_dump(mode="json"),
        "recheck": {**config.recheck.model_dump(mode="json"), "trials": 0, "seeds": 0},
        "budget": BudgetConfig().model_dump() if before.budget == config.budget else config.budget.model_dump(),
        "retraining": RetrainingConfig(
            experiment=str(experiment.folder),
            identity=records.identity,
            seeds=request.seeds,
            settings=settings,
            sample_metrics=records.sample_metrics,
            earlier=_earlier(experiment, records, out),
        ).model_dump(mode="json"),
    }
    for _, data in Overrides(wandb=request.wandb).layers():
        fields["wandb"] = {**fields["wandb"], **data["wandb"]}  # type: ignore[dict-item]
    return _validated(experiment, fields)


def retraining_lines(config: SweepConfig) -> list[str]:
    """Return what a retraining is going to do, as text."""
    plan = config.retraining
    assert plan
    named = [(one.name, "" if one.trial in one.name else f" (trial {one.trial})") for one in plan.settings]
    names = ", ".join(f"{name}{trial}" for name, trial in named)
    kimg = config.search.trials * config.scheduler.max_kimg
    lines = [
        f"retraining of {plan.experiment}: {config.search.trials} trainings of {config.model}, {plan.seeds} of each",
        f"  settings: {names}",
        f"  {kimg:g} kimg of training in full length, without early stopping",
    ]
    if MODELS[config.model].uses_images:
        evaluation = config.evaluation
        lines.append("  trained on the training and the held-out images, evaluated once on the test images:")
        lines.append(f"  {evaluation.final_samples} samples of at most {evaluation.nfe} network evaluations")
    return [*lines, *(f"warning: {warning}" for warning in plan_warnings(config))]


def _settings(
    experiment: Experiment, config: SweepConfig, records: Records, request: RetrainRequest
) -> list[RetrainedSetting]:
    """Return the settings to train, those of the search first. Raise InputError if there is none."""
    metric, names = config.objectives[0].name, [one.name for one in config.metrics]
    completed = [record for record in records.searched if record.state == "completed"]
    order = front(completed, names) if names else ranked(completed, metric)
    if not order:
        state = "the sweep still runs" if is_running(experiment.folder) else "resume it first"
        raise InputError(f"{experiment.folder}: no trial has finished, so no setting can be trained again", hint=state)
    fresh = FreshValues(order, metric)
    promises = {one.id: _promised(config, one, order) for one in completed}
    if request.trials:
        named = dict.fromkeys(_named(records, trial).id for trial in request.trials)
        chosen = [(f"trial {trial}", records.trials[trial]) for trial in named]
    else:
        winner = best(order, metric)
        assert winner
        rivals = sorted((one for one in order if one is not winner), key=_by_fresh_value(fresh, metric))
        best_ones = [winner, *rivals][: request.top]
        chosen = [("winner" if i == 0 else f"rank {i + 1}", record) for i, record in enumerate(best_ones)]
    baselines = [
        (f"baseline {record.id}", record)
        for record in completed
        if request.with_baselines and record.source == "baseline" and record not in [one for _, one in chosen]
    ]
    if request.with_baselines and not any(record.source == "baseline" for _, record in [*chosen, *baselines]):
        raise InputError(f"{experiment.folder}: no baseline has finished", hint="leave out --with-baselines")
    return [
        RetrainedSetting(
            name=name, trial=record.id, baseline=record.source == "baseline", promised=promises.get(record.id, {})
        )
        for name, record in [*chosen, *baselines]
    ]


def _named(records: Records, trial: str) -> TrialRecord:
    """Return the trial of the search with the setting of `trial`. Raise InputError if it has no values."""
    record = records.trials.get(trial)
    if record is None or not record.rungs:
        known = ", ".join(one.id for one in records.searched if one.rungs) or "none"
        raise InputError(f"--trial {trial}: no such trial has reached a rung", hint=f"those that have: {known}")
    return records.trials[record.retrains or trial]


def _by_fresh_value(fresh: FreshValues, metric: str) -> Callable[[TrialRecord], tuple[int, float]]:
    """Return the sorting key: the settings judged best first, then those that were only measured by the sweep."""

    def key(record: TrialRecord) -> tuple[int, float]:
        value = fresh.get(record.id)
        if value is None:
            return 2, sign(metric) * (record.value(metric) or 0.0)
        return int(fresh.over_trainings and not value.trainings), sign(metric) * value.mean

    return key


def _promised(config: SweepConfig, record: TrialRecord, order: list[TrialRecord]) -> dict[str, Promise]:
    """Return the value of each objective by fresh seeds, or else as the sweep measured it."""
    found = {}
    for objective in config.objectives:
        fresh, value = FreshValues(order, objective.name).get(record.id), record.value(objective.name)
        if fresh:
            found[objective.name] = Promise(value=fresh.mean, stderr=fresh.estimate.stderr)
        elif value is not None:
            error = record.rungs[-1].metrics.get(f"{objective.name}_stderr")
            found[objective.name] = Promise(value=value, stderr=error)
    return found


def _values(config: SweepConfig, record: TrialRecord) -> dict[str, Scalar]:
    """Return the values of a trial that a baseline names, with the sampling setting that the sweep chose for it."""
    sampling = record.recheck.sampling if record.recheck else record.rungs[-1].sampling
    values, constants = {**record.params, **sampling}, config.constants
    return {
        name: value
        for name, value in values.items()
        if (
            config.space.active(name, values)
            if name in config.parameters
            else name in constants and not same(value, constants[name])
        )
    }


def _evaluation(config: SweepConfig, records: Records) -> EvaluationConfig:
    """Return the cost of the evaluation: that of the values which the sweep promised."""
    if not any(record.recheck for record in records.trials.values()):
        return config.evaluation
    again = config.recheck
    return config.evaluation.model_copy(update={"final_samples": again.draws * again.samples, "nfe": again.nfe})


def _earlier(experiment: Experiment, records: Records, out: Path) -> list[str]:
    """Return the folders of earlier retrainings of the sweep that have used the test images."""
    found = []
    for other in experiments(out):
        with suppress(InputError, OSError):
            plan = other.config().retraining
            same_sweep = plan and (plan.experiment == str(experiment.folder) or plan.identity == records.identity != "")
            if same_sweep and any(record.rungs for record in other.records()):
                found.append(str(other.folder))
    return found


def _validated(experiment: Experiment, fields: Mapping[str, object]) -> SweepConfig:
    try:
        return SweepConfig.model_validate(fields, context=RESUMED)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        raise InputError(f"{experiment.folder}: its settings cannot be trained again: {key}: {first['msg']}") from None
