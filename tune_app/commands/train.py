"""One training run without a sweep and without Ray: a checkpoint every 10 epochs, sample grids every 5."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainables.catalog import MODELS
from trainables.contract import DataError, DataSpec, NonFiniteError, RunSpec
from trainables.files import write_file, write_json
from tune_app.config.checks import nearest
from tune_app.config.load import data_choice, model_parameters
from tune_app.errors import InputError, TuneAppError
from tune_app.experiment.out_folder import check_writable, create

CHECKPOINT_EPOCHS, SAMPLE_EPOCHS = 10, 5


def train_once(
    model: str,
    sets: dict[str, str],
    data: str,
    *,
    resolution: int,
    epochs: int,
    seed: int,
    out: Path,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Train `model` for `epochs` and return where its files are and its last metrics.

    Raises InputError for an unknown model, parameter or data set, TuneAppError when the loss stops being a number.
    """
    params = model_parameters(model, sets)
    known = MODELS[model].parameters
    if not MODELS[model].uses_images:
        raise InputError(
            f"{model} trains nothing; `train` takes {', '.join(n for n, m in MODELS.items() if m.uses_images)}"
        )
    name, path = data_choice(data)
    check_data(name, path)
    check_writable(out)
    from trainables import data as data_sets
    from trainables.trial import Trial

    spec = RunSpec(
        model=model,
        params={name: value for name, value in params.items() if known[name].stage == "training"},
        seed=seed,
        data=DataSpec(name, resolution, path),
        sampling=({name: value for name, value in params.items() if known[name].stage == "sampling"},),
    )
    try:
        count = len(data_sets.load(spec.data).train)
    except DataError as error:
        raise InputError(f"data: {error}") from None
    folder = create(out, f"train-{model}").folder
    write_json(
        folder / "settings.json", {"model": model, "params": params, "seed": seed, "data": data, "epochs": epochs}
    )
    say(f"training {model} for {epochs} epochs of {count:,} images into {folder}")
    trial = Trial(spec, rungs=[epochs * count / 1000], report_kimg=count / 1000)
    metrics: dict[str, float] = {}
    for epoch in range(1, epochs + 1):
        began = time.perf_counter()
        try:
            report = trial.advance()
            pictures = report.pictures
            if epoch % SAMPLE_EPOCHS == 0 and not pictures:
                pictures = trial.run.evaluate(final=False).pictures
        except NonFiniteError as error:
            raise TuneAppError(f"epoch {epoch}: {error}", hint="a lower lr is the usual cure") from None
        metrics = report.metrics
        for kind, png in pictures.items():
            write_file(folder / f"{kind}-epoch-{epoch}.png", png)
        if epoch % CHECKPOINT_EPOCHS == 0 or epoch == epochs:
            trial.save(folder / "checkpoints" / f"{model}_epoch_{epoch}")
        losses = ", ".join(f"{key} {value:.5g}" for key, value in metrics.items() if key.endswith("loss"))
        say(f"epoch {epoch}: {losses} ({time.perf_counter() - began:.1f} s)")
    document = {"folder": str(folder), "model": model, "epochs": epochs, "metrics": metrics}
    write_file(folder / "metrics.json", json.dumps(document, indent=2) + "\n")
    return document


def _trained() -> list[str]:
    return [name for name, model in MODELS.items() if model.uses_images]


def check_data(name: str, path: str | None) -> None:
    """Raise InputError unless there is a data set `name` that takes, or does not take, a path."""
    sets = ("cifar10", "shapes", "folder")
    if name not in sets:
        raise InputError(f"--data {name}: there is no such data set", nearest(name, list(sets)))
    if (name == "folder") != (path is not None):
        raise InputError(f"--data {name}: a path goes with folder and with nothing else", "write --data folder:DIR")
