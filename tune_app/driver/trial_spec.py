"""What a worker is told of one trial."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trainables.catalog import MODELS
from trainables.contract import DataSpec, RunSpec
from tune_app.config.schema import SweepConfig
from tune_app.experiment.folder import PARK_FILE, Experiment
from tune_app.experiment.records import TrialRecord
from tune_app.plan import FINAL_SETTINGS, RUNG_SETTINGS

if TYPE_CHECKING:
    from ray import ObjectRef


@dataclass(frozen=True)
class Basis:
    """What all trials of a session stand on: the images, the features, and the yardstick in Ray's object store."""

    data: str = ""
    """Fingerprint; empty where a model uses no images."""
    features: dict[str, str] = field(default_factory=dict)
    cnn: bytes = b""
    yardstick: ObjectRef | None = None


def arguments(
    config: SweepConfig, experiment: Experiment, yardstick: ObjectRef | None, record: TrialRecord
) -> dict[str, Any]:
    """The `config` of a RayTrial."""
    return {
        "spec": trial_spec(config, record),
        "yardstick": yardstick,
        "rungs": config.rungs,
        "report_kimg": config.evaluation.report_kimg,
        "checkpoint_kimg": config.failures.checkpoint_kimg,
        "threads": threads(config),
        "folder": experiment.place(f"trials/{record.id}", config.storage),
        "checkpoints": experiment.checkpoints(record, config.storage),
        "park_file": experiment.place(PARK_FILE, config.storage),
    }


def trial_spec(config: SweepConfig, record: TrialRecord) -> RunSpec:
    return run_spec(config, record.params, seed=trial_seed(config.search.seed, record.number))


def trial_seed(seed: int, number: int) -> int:
    """The seed of a trial: from the sweep's seed and the trial's number alone."""
    return (seed * 1_000_003 + number * 7919 + 1) % 2**31


def run_spec(config: SweepConfig, params: dict[str, Any], *, seed: int) -> RunSpec:
    known = MODELS[config.model].parameters
    given = {**{name: item.default for name, item in known.items()}, **config.fixed, **params}
    outer = {name: value for name, value in given.items() if known[name].stage == "training"}
    inner = {name: value for name, value in given.items() if known[name].stage == "sampling"}
    return RunSpec(
        model=config.model,
        params=outer,
        seed=seed,
        common_seed=config.search.seed,
        metric=config.metric.name,
        data=DataSpec(config.data.name, config.data.resolution, config.data.path),
        samples=config.evaluation.samples,
        final_samples=config.evaluation.final_samples,
        nfe=config.evaluation.nfe,
        sampling=tuple({**inner, **setting} for setting in config.space.sampling_grid(RUNG_SETTINGS, given)),
        final_sampling=tuple({**inner, **setting} for setting in config.space.sampling_grid(FINAL_SETTINGS, given)),
        max_kimg=config.scheduler.max_kimg,
    )


def threads(config: SweepConfig) -> int:
    """One thread a CPU of the trial."""
    return max(1, int(config.resources.cpu))
