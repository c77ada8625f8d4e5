"""One training run without a sweep and without Ray, as the reference project's own scripts train."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from search_spaces.distributions import Scalar
from trainables.catalog import MODELS
from trainables.contract import DataError, DataSpec, NonFiniteError, RunSpec
from trainables.files import write_file
from trainables.progress import report
from tune_app.commands.training_folder import TrainingFolder, TrainingSettings, new_folder
from tune_app.config.model_parameters import data_spec, model_parameters
from tune_app.config.schema import WandbConfig
from tune_app.errors import InputError, TuneAppError
from tune_app.experiment.lock import resume_lock
from tune_app.experiment.out_folder import check_writable
from tune_app.trackers.wandb_key import wandb_mode
from tune_app.trackers.wandb_training import wandb_run

if TYPE_CHECKING:
    from typing import Any

    from trainables.training import ImageRun
    from tune_app.trackers.wandb_training import LogEpoch

CHECKPOINT_EPOCHS, SAMPLE_EPOCHS = 10, 5
SAMPLES_SHOWN, USUAL_SIDE = 64, 32
CHUNK_BATCHES = 4
"""Batches between two looks at Ctrl-C. A fixed number, so that the mean losses are the same to the last digit."""


@dataclass(frozen=True)
class TrainRequest:
    """One training run: the model, its parameters and images, the length, and the folder for its files."""

    model: str
    data: str
    epochs: int
    seed: int
    out: Path
    wandb: str = "auto"
    resolution: int | None = None
    channels: int | None = None
    resize: bool = False
    params: Mapping[str, str] = field(default_factory=dict)


class TrainingInterruptedError(TuneAppError):
    """Training stopped because a person asked for it. A checkpoint is written, and `train --resume` continues."""

    exit_code = 130


def train_once(
    request: TrainRequest, say: Callable[[str], None], stopping: Callable[[], bool] = lambda: False
) -> dict[str, JsonValue]:
    """Train a model, and return the document of metrics.json.

    `stopping` returns True once training shall end with a checkpoint. Raise InputError for an unknown model, parameter
    or data set, TrainingInterruptedError, and TuneAppError if the loss becomes NaN.
    """
    params = model_parameters(request.model, request.params, where=lambda name, value: f"--{name} {value}")
    if not MODELS[request.model].uses_images:
        trained = ", ".join(name for name, entry in MODELS.items() if entry.uses_images)
        raise InputError(f"{request.model} trains nothing; `train` takes {trained}")
    check_writable(request.out)
    resize = {"side": request.resolution or USUAL_SIDE} if request.resize else None
    keys = {"resolution": request.resolution, "channels": request.channels, "resize": resize}
    settings = TrainingSettings(
        model=request.model,
        params=params,
        seed=request.seed,
        epochs=request.epochs,
        data=data_spec(request.model, request.data, keys),
    )
    mode = wandb_mode(WandbConfig.model_validate({"mode": request.wandb}))
    images = _count_images(settings.data)
    folder = new_folder(request.out, settings)
    say(f"training {settings.model} for {settings.epochs} epochs of {images:,} images into {folder.shown}")
    return _train(folder, settings, images, mode, say, stopping)


def resume_training(
    path: Path,
    epochs: int | None,
    wandb: str,
    say: Callable[[str], None],
    stopping: Callable[[], bool] = lambda: False,
) -> dict[str, JsonValue]:
    """Continue the training run in `path`, up to `epochs` if given. Return and raise as `train_once` does."""
    folder = TrainingFolder(path.absolute())
    settings = folder.read_settings()
    settings = replace(settings, epochs=epochs or settings.epochs)
    mode = wandb_mode(WandbConfig.model_validate({"mode": wandb}))
    images = _count_images(settings.data)
    folder.write_settings(settings)
    return _train(folder, settings, images, mode, say, stopping)


def training_lines(document: Mapping[str, Any]) -> list[str]:
    """Return the document of metrics.json as text, with the command that measures the checkpoint again."""
    lines = [f"{document['model']} after {document['epochs']} epochs, evaluated on held-out images:"]
    lines += [f"  {name:24}{value:.6g}" for name, value in document["metrics"].items()]
    return [*lines, f"next: python -m tune_app score {document['checkpoint']}"]


def _train(
    folder: TrainingFolder,
    settings: TrainingSettings,
    images: int,
    mode: str,
    say: Callable[[str], None],
    stopping: Callable[[], bool],
) -> dict[str, JsonValue]:
    from trainables.build import build
    from trainables.training import ImageRun

    run = build(_run_spec(settings))
    assert isinstance(run, ImageRun)
    about = {"model": settings.model, **settings.params, "seed": settings.seed, "data": settings.data.name}
    with resume_lock(folder.path), wandb_run(folder.path, about, mode, say) as log_epoch:
        training = _Training(folder, run, settings, images)
        if training.load():
            say(f"resuming after {training.images / images:.4g} of {settings.epochs} epochs")
        training.to_end(log_epoch, say, stopping)
        return folder.write_metrics(settings, training.metrics)


class _Training:
    """A run, how far it has come, and the sum of its losses in this epoch."""

    def __init__(self, folder: TrainingFolder, run: ImageRun, settings: TrainingSettings, images: int) -> None:
        self._folder, self._run, self._settings = folder, run, settings
        self._epoch_images = images
        self._totals: dict[str, float] = {}
        self._counted = 0
        self._chunk = CHUNK_BATCHES * int(settings.params["batch_size"])
        self.images = 0
        self.seconds = 0.0
        self.metrics: dict[str, float] = {}

    def load(self) -> bool:
        """Continue from the newest complete checkpoint. Return False if there is none."""
        newest = self._folder.newest_checkpoint()
        if newest is None:
            return False
        state, about = newest
        self._run.load_state(state)
        self.images, self.seconds = int(about["images"]), float(about["seconds"])
        self._totals, self._counted = dict(about["totals"]), int(about["counted"])
        self._folder.forget_epochs_after(self.images // self._epoch_images)
        return True

    def to_end(self, log_epoch: LogEpoch, say: Callable[[str], None], stopping: Callable[[], bool]) -> None:
        """Train the epochs that are missing, and evaluate the last one."""
        last = self._settings.epochs
        for epoch in range(self.images // self._epoch_images + 1, last + 1):
            began = time.perf_counter()
            try:
                losses = self._epoch(epoch, stopping)
                pictures = self._pictures(epoch)
            except NonFiniteError as error:
                raise TuneAppError(f"epoch {epoch}: {error}", hint="a lower lr usually helps") from None
            self._totals, self._counted = {}, 0
            kept = epoch % CHECKPOINT_EPOCHS == 0 or epoch == last
            self._save(f"{self._settings.model}_epoch_{epoch}" if kept else "")
            self._folder.add_epoch({"epoch": epoch, "images": self.images, "seconds": self.seconds, **losses})
            log_epoch(epoch, losses, self.metrics, pictures)
            shown = ", ".join(f"{name} {value:.5g}" for name, value in losses.items() if name.endswith("loss"))
            say(f"epoch {epoch}/{last}: {shown} ({time.perf_counter() - began:.1f} s)")
        if not self.metrics:  # resumed after the last epoch
            self._pictures(last)

    def _epoch(self, epoch: int, stopping: Callable[[], bool]) -> dict[str, float]:
        """Train to the end of an epoch and return its mean losses. Raise TrainingInterruptedError if asked to stop."""
        end = epoch * self._epoch_images
        while self.images < end:
            if stopping():
                self._save("")
                command = f"python -m tune_app train --resume {self._folder.shown}"
                raise TrainingInterruptedError(f"interrupted in epoch {epoch}", hint=f"resume with: {command}")
            began, before = time.perf_counter(), self._run.images
            report(f"epoch {epoch}: {100 * (self.images / self._epoch_images - epoch + 1):.0f} %")
            count = min(self._chunk, end - self.images)
            losses = self._run.train(count)
            self.images += count
            trained = self._run.images - before
            self.seconds += time.perf_counter() - began
            for name, value in losses.items():
                self._totals[name] = self._totals.get(name, 0.0) + value * trained
            self._counted += trained
        return {name: total / max(1, self._counted) for name, total in self._totals.items()}

    def _pictures(self, epoch: int) -> dict[str, Path]:
        """Evaluate after the last epoch, and draw samples after every fifth. Return the pictures written."""
        last = epoch == self._settings.epochs
        if not last and epoch % SAMPLE_EPOCHS:
            return {}
        evaluation = self._run.evaluate(final=last)
        self.metrics = evaluation.metrics if last else {}
        paths = {}
        for name, png in evaluation.pictures.items():
            paths[name] = self._folder.path / f"{name}-epoch-{epoch}.png"
            write_file(paths[name], png)
        return paths

    def _save(self, name: str) -> None:
        """Write the checkpoint from which a resume continues and, with `name`, one that is kept."""
        about = {"images": self.images, "seconds": self.seconds, "totals": self._totals, "counted": self._counted}
        self._folder.save(self._run.state(), {**about, "spec": _run_spec(self._settings)}, name)


def _run_spec(settings: TrainingSettings) -> RunSpec:
    known = MODELS[settings.model].parameters
    sampling: dict[str, Scalar] = {n: v for n, v in settings.params.items() if known[n].stage == "sampling"}
    return RunSpec(
        model=settings.model,
        params={name: value for name, value in settings.params.items() if known[name].stage == "training"},
        seed=settings.seed,
        data=settings.data,
        samples=SAMPLES_SHOWN,
        sampling=(sampling,),
        final_sampling=(sampling,),
        max_kimg=settings.epochs * _count_images(settings.data) / 1000,
    )


def _count_images(data: DataSpec) -> int:
    from trainables import data as data_sets

    try:
        return len(data_sets.load(data).train)
    except DataError as error:
        hint = "the option of `train` for it is --resize" if "data.resize" in str(error) else None
        raise InputError(f"data: {error}", hint) from None
