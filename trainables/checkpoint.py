"""A checkpoint is a folder of two files, there whole or not at all, of weights and plain data only."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import sys
import uuid
import zipfile
from pathlib import Path
from typing import Any

STATE, PLAIN_STATE = "state.pt", "state.json"
ABOUT = "about.json"


class CheckpointError(Exception):
    """A checkpoint that is missing or damaged; says which and what is wrong."""


def write(folder: Path, state: dict[str, Any], about: dict[str, Any]) -> None:
    """Write `state` (tensors, plain data) and `about` (JSON) as `folder`; whoever looks sees all of it or nothing."""
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = folder.parent / f".{folder.name}.{uuid.uuid4().hex[:8]}"
    unfinished.mkdir()
    try:
        file = _save(state, unfinished)
        described = {**about, "sha256": _digest(file)}
        (unfinished / ABOUT).write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
        for path in (file, unfinished / ABOUT, unfinished):
            _flush(path)
        _put_in_place(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The state and the description of `folder`. Raises CheckpointError."""
    folder = Path(folder)
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        digest = about.pop("sha256")
        file = folder / (PLAIN_STATE if (folder / PLAIN_STATE).exists() else STATE)
        if digest != _digest(file):
            raise CheckpointError(f"{file} is damaged: its bytes are not those that were written")
        state = _load(file)
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder} is no checkpoint: {Path(error.filename).name} is missing") from error
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{folder / ABOUT} is damaged: {error!r}") from error
    except (RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{folder / STATE} cannot be read: {error}") from error
    return state, about


def _save(state: dict[str, Any], folder: Path) -> Path:
    """The file of `state` in `folder`: JSON from a run that never needed torch, which takes seconds to import."""
    if "torch" not in sys.modules:
        (folder / PLAIN_STATE).write_text(json.dumps(state), encoding="utf-8")
        return folder / PLAIN_STATE
    import torch

    torch.save(state, folder / STATE)
    return folder / STATE


def _load(file: Path) -> dict[str, Any]:
    if file.name == PLAIN_STATE:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    import torch

    return dict(torch.load(file, map_location="cpu", weights_only=True))


def _put_in_place(new: Path, folder: Path) -> None:
    """Rename `new` to `folder`; a checkpoint already there makes room first and is removed last."""
    old = folder.parent / f"{new.name}.old"
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    _flush(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _flush(path: Path) -> None:
    """Force a file or folder to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
