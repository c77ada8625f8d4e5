"""One training run without a sweep and without Ray: a checkpoint every 10 epochs, sample grids every 5."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from search_spaces.distributions import Scalar
from trainables.catalog import MODELS
from trainables.contract import DataError, DataSpec, NonFiniteError, RunSpec
from trainables.files import write_file, write_json
from tune_app.config.model_parameters import check_data, model_parameters, split_data_option
from tune_app.errors import InputError, TuneAppError
from tune_app.experiment.out_folder import check_writable, create

if TYPE_CHECKING:
    from trainables.trial import Trial

CHECKPOINT_EPOCHS, SAMPLE_EPOCHS = 10, 5


@dataclass(frozen=True)
class TrainRequest:
    """What to train, on what, for how long, and where the files go."""

    model: str
    data: str
    resolution: int
    epochs: int
    seed: int
    out: Path
    sets: Mapping[str, str] = field(default_factory=dict)


def train_once(request: TrainRequest, say: Callable[[str], None]) -> dict[str, JsonValue]:
    """Train a model, and return the folder of its files and its last metrics.

    Raise InputError for an unknown model, parameter or data set, and TuneAppError if the loss becomes NaN.
    """
    params = model_parameters(request.model, request.sets)
    if not MODELS[request.model].uses_images:
        trained = ", ".join(name for name, entry in MODELS.items() if entry.uses_images)
        raise InputError(f"{request.model} trains nothing; `train` takes {trained}")
    name, path = split_data_option(request.data)
    check_data(name, path)
    check_writable(request.out)
    spec = _run_spec(request, params, DataSpec(name, request.resolution, path))
    count = _count_images(spec)
    folder = create(request.out, f"train-{request.model}").folder
    settings = {"model": request.model, "params": params, "seed": request.seed, "data": request.data}
    write_json(folder / "settings.json", {**settings, "epochs": request.epochs})
    say(f"training {request.model} for {request.epochs} epochs of {count:,} images into {folder}")
    from trainables.trial import Trial

    trial = Trial(spec, rungs=[request.epochs * count / 1000], report_kimg=count / 1000)
    metrics: dict[str, float] = {}
    for epoch in range(1, request.epochs + 1):
        metrics = _train_epoch(trial, epoch, folder, say)
        if epoch % CHECKPOINT_EPOCHS == 0 or epoch == request.epochs:
            trial.save(folder / "checkpoints" / f"{request.model}_epoch_{epoch}")
    document: dict[str, JsonValue] = {
        "folder": str(folder), "model": request.model, "epochs": request.epochs, "metrics": dict(metrics),
    }  # fmt: skip
    write_file(folder / "metrics.json", json.dumps(document, indent=2) + "\n")
    return document


def _run_spec(request: TrainRequest, params: Mapping[str, Scalar], data: DataSpec) -> RunSpec:
    known = MODELS[request.model].parameters
    return RunSpec(
        model=request.model,
        params={name: value for name, value in params.items() if known[name].stage == "training"},
        seed=request.seed,
        data=data,
        sampling=({name: value for name, value in params.items() if known[name].stage == "sampling"},),
    )


def _count_images(spec: RunSpec) -> int:
    from trainables import data

    try:
        return len(data.load(spec.data).train)
    except DataError as error:
        raise InputError(f"data: {error}") from None


def _train_epoch(trial: Trial, epoch: int, folder: Path, say: Callable[[str], None]) -> dict[str, float]:
    """Train one epoch, write its pictures, print its losses and return its metrics."""
    began = time.perf_counter()
    try:
        report = trial.advance()
        pictures = report.pictures
        if epoch % SAMPLE_EPOCHS == 0 and not pictures:
            pictures = trial.run.evaluate(final=False).pictures
    except NonFiniteError as error:
        raise TuneAppError(f"epoch {epoch}: {error}", hint="a lower lr usually helps") from None
    for kind, png in pictures.items():
        write_file(folder / f"{kind}-epoch-{epoch}.png", png)
    losses = ", ".join(f"{key} {value:.5g}" for key, value in report.metrics.items() if key.endswith("loss"))
    say(f"epoch {epoch}: {losses} ({time.perf_counter() - began:.1f} s)")
    return report.metrics
