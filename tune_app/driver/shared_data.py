"""The images, the feature sets and the sample metrics that all trials of a session share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.catalog import MODELS
from trainables.contract import SAMPLE_METRICS
from tune_app.answer.warnings import few_images
from tune_app.cluster.ray import prepared
from tune_app.config.schema import SweepConfig
from tune_app.driver.trial_spec import run_spec
from tune_app.errors import InputError
from tune_app.experiment.folder import Experiment
from tune_app.experiment.records import Records
from tune_app.trackers.console import Quiet

if TYPE_CHECKING:
    from ray import ObjectRef

FID_IMAGES = 50_000
"""Least number of samples for which the reference statistics of FID are prepared."""


@dataclass(frozen=True)
class SharedData:
    """Fingerprints of the data, and the sample metrics in Ray's object store."""

    data: str = ""
    """Fingerprint of the images; empty for a model without images."""
    features: dict[str, str] = field(default_factory=dict)
    """Fingerprint of each feature set by name, the sweep's own first."""
    cnn: bytes = b""
    """Weights of the trained cnn features, if the sweep uses them."""
    real_images: bytes = b""
    """PNG of held-out images."""
    scale: dict[str, float] = field(default_factory=dict)
    """kid of corrupted real images, by corruption."""
    compared: dict[str, int] = field(default_factory=dict)
    """Number of real images that samples are compared with, by the part of the sweep that compares them."""
    searched: str = ""
    """Fingerprint of the images as a search uses them. A retraining uses the same images, split otherwise."""
    sample_metrics: ObjectRef | None = None


def prepare_new(config: SweepConfig, console: Quiet) -> SharedData:
    """Prepare the data of a new experiment. A retraining gets the features of its sweep, so that the values compare.

    Raise InputError if the images or the features are not those of the sweep.
    """
    if config.retraining is None:
        return prepare_data(config, console)
    sweep = Experiment(Path(config.retraining.experiment))
    data, records = prepare_data(config, console, sweep, config.retraining.sample_metrics), sweep.read_records()
    if records.data and records.data != data.searched:
        raise InputError(f"data: these are not the images that {sweep.folder} was started with")
    if records.features and records.features != data.features:
        raise InputError(f"{sweep.features}: these are not the features of the sweep", hint="restore it from a copy")
    return data


def prepare_data(
    config: SweepConfig, console: Quiet, experiment: Experiment | None = None, version: int = SAMPLE_METRICS
) -> SharedData:
    """Decode the images and prepare the sample metrics, once for all trials.

    With `experiment`, use the features that it started with. `version` is that of the sample metrics. Raise InputError
    if the data or features cannot be used.
    """
    if not MODELS[config.model].uses_images:
        return SharedData()
    saved = experiment.features.read_bytes() if experiment and experiment.features.is_file() else b""
    fid = config.evaluation.final_samples >= FID_IMAGES or config.recheck.samples >= FID_IMAGES
    summary, sample_metrics = prepared(
        run_spec(config, {}, seed=0),
        gpu=config.resources.gpus,
        features=_absolute(config.evaluation.features),
        saved=saved,
        fid=fid,
        version=version,
        note=console.note,
        progress=console.progress,
    )
    if len(summary.features) < 2 and any(one.name == "kid_alt" for one in config.objectives):
        raise InputError("metric.name: kid_alt needs a second feature set, which needs images with labels")
    if warning := few_images(summary.compared):
        console.note(f"warning: {warning}")
    return SharedData(*summary, sample_metrics)


def check_same_data(records: Records, data: SharedData, experiment: Experiment) -> None:
    """Raise InputError if the experiment started with other images or other features."""
    if records.data and records.data != data.data:
        raise InputError(f"data: these are not the images that {experiment.folder} started with")
    if records.features and records.features != data.features:
        raise InputError(
            f"{experiment.features}: these are not the features that the sweep started with, and metrics of two "
            "feature sets do not compare",
            hint="restore the file from a copy, or start a new experiment",
        )


def _absolute(features: str) -> str:
    """Return inception:FILE with an absolute path, because a worker may have another current folder."""
    kind, colon, path = features.partition(":")
    return f"{kind}{colon}{Path(path).expanduser().absolute()}" if path else features
