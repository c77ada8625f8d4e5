"""The folder of a single training run: settings.json, history.jsonl, metrics.json, checkpoints and pictures.

It has no event log, so it is no experiment, and `latest` never names it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue, TypeAdapter, ValidationError

from search_spaces.distributions import Scalar
from trainables import checkpoint
from trainables.contract import DataSpec, RunSpec
from trainables.files import write_file, write_json
from tune_app.config.methods import values_of_then
from tune_app.config.model_parameters import model_parameters
from tune_app.errors import InputError
from tune_app.experiment.out_folder import stamped_folder

if TYPE_CHECKING:
    from typing import Any

LAST = "last"
"""Checkpoint from which a resume continues. It is written again after each epoch."""


@dataclass(frozen=True)
class TrainingSettings:
    """Everything that determines a training run."""

    model: str
    params: Mapping[str, Scalar]
    seed: int
    epochs: int
    data: DataSpec


@dataclass(frozen=True)
class TrainingFolder:
    """The folder of one training run."""

    path: Path

    @property
    def shown(self) -> str:
        """The folder, relative to the current one if that is shorter."""
        return min(os.path.relpath(self.path), str(self.path), key=len)

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    def write_settings(self, settings: TrainingSettings) -> None:
        """Write settings.json."""
        write_json(self.path / "settings.json", asdict(settings))

    def read_settings(self) -> TrainingSettings:
        """Return the settings. Raise InputError if the folder is not one of a training run, or they are damaged."""
        file = self.path / "settings.json"
        try:
            settings = TypeAdapter(TrainingSettings).validate_json(file.read_bytes())
        except OSError:
            raise InputError(f"{self.path}: not the folder of a training run: settings.json is missing") from None
        except ValidationError as error:
            raise InputError(f"{file}: is damaged ({error.error_count()} mistakes)") from None
        params = model_parameters(settings.model, {**values_of_then(settings.model), **settings.params})
        return replace(settings, params=params)

    def newest_checkpoint(self) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Return state and description of the complete checkpoint with the most images, or None."""
        found = []
        for folder in self.checkpoints.iterdir() if self.checkpoints.is_dir() else ():
            if checkpoint.is_complete(folder):
                found.append(checkpoint.read(folder))
        return max(found, key=lambda one: int(one[1]["images"]), default=None)

    def save(self, state: dict[str, Any], about: dict[str, Any], name: str) -> None:
        """Write the checkpoint `last` and, with `name`, the same as one that is kept."""
        spec: RunSpec = about["spec"]
        for kept in filter(None, (name, LAST)):
            checkpoint.write(self.checkpoints / kept, state, {**about, "spec": asdict(spec)})

    def add_epoch(self, row: Mapping[str, float]) -> None:
        """Append an epoch to history.jsonl."""
        self._write_history([*self.history(), dict(row)])

    def forget_epochs_after(self, epoch: int) -> None:
        """Drop the epochs of history.jsonl that are trained again."""
        self._write_history([row for row in self.history() if row["epoch"] <= epoch])

    def history(self) -> list[dict[str, float]]:
        """Return the losses of each epoch."""
        file = self.path / "history.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []

    def write_metrics(self, settings: TrainingSettings, metrics: Mapping[str, float]) -> dict[str, JsonValue]:
        """Write metrics.json and remove the checkpoint `last`, of which a kept copy exists. Return the document."""
        kept = self.checkpoints / f"{settings.model}_epoch_{settings.epochs}"
        if checkpoint.is_complete(kept):
            shutil.rmtree(self.checkpoints / LAST, ignore_errors=True)
        document: dict[str, JsonValue] = {
            "folder": str(self.path), "model": settings.model, "epochs": settings.epochs,
            "checkpoint": str(kept), "metrics": dict(metrics),
        }  # fmt: skip
        write_json(self.path / "metrics.json", document)
        return document

    def _write_history(self, rows: list[dict[str, float]]) -> None:
        write_file(self.path / "history.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def new_folder(out: Path, settings: TrainingSettings) -> TrainingFolder:
    """Make the folder <out>/train-<model>-<YYYYmmdd-HHMMSS> with its settings. Raise InputError if that fails."""
    folder = TrainingFolder(stamped_folder(out, f"train-{settings.model}"))
    folder.write_settings(settings)
    return folder
