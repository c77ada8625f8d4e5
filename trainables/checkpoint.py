"""A checkpoint is a folder of two files, there whole or not at all, of weights and plain data only."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import stat
import struct
import sys
import uuid
import warnings
import zipfile
from pathlib import Path
from typing import Any

STATE, PLAIN_STATE = "state.pt", "state.json"
ABOUT = "about.json"
MOST_ABOUT_BYTES = 1_000_000
MALFORMED = (ValueError, LookupError, AttributeError, TypeError, RecursionError)
"""What the parsers of JSON and pickles raise, or the code that goes through what they found."""
UNREADABLE = (
    RuntimeError, EOFError, AssertionError, MemoryError, struct.error, pickle.UnpicklingError, zipfile.BadZipFile,
)  # fmt: skip
"""What torch's reader raises beside those."""


class CheckpointError(Exception):
    """A checkpoint that is missing or damaged; says which and what is wrong."""


class UnwritableError(OSError):
    """A checkpoint that could not be written: the disk is to blame, not what was to be saved."""


def write(folder: Path, state: dict[str, Any], about: dict[str, Any]) -> None:
    """Write `state` (tensors, plain data) and `about` (JSON) as `folder`; whoever looks sees all of it or nothing.

    The folder above may be absent, the one above that may not. Raises UnwritableError.
    """
    try:
        _write(Path(folder), state, about)
    except OSError as error:
        raise UnwritableError(error.errno, error.strerror, error.filename or str(folder)) from error


def _write(folder: Path, state: dict[str, Any], about: dict[str, Any]) -> None:
    folder.parent.mkdir(exist_ok=True)
    unfinished = folder.parent / f".unfinished-{folder.name}.{uuid.uuid4().hex[:8]}"
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
    file, about = _verified(Path(folder))
    try:
        return _load(file), about
    except (OSError, *MALFORMED, *UNREADABLE) as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from error


def whole(folder: Path) -> bool:
    """Whether `folder` is a checkpoint as `write` makes it and nothing else; loads nothing and never raises.

    A third file makes it none: Ray would unpickle one of a certain name. So does a link in place of a file or folder.
    """
    folder = Path(folder)
    try:
        file, _ = _verified(folder)
        return not folder.is_symlink() and {path.name for path in folder.iterdir()} == {file.name, ABOUT}
    except (CheckpointError, OSError):
        return False


def _verified(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The file of the state, its bytes those that were written, and the description."""
    try:
        about = json.loads(_text(folder / ABOUT))
        digest = about.pop("sha256")
        file = folder / (PLAIN_STATE if (folder / PLAIN_STATE).exists() else STATE)
        same = digest == _digest(_regular(file))
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder} is no checkpoint: {Path(error.filename).name} is missing") from error
    except (OSError, *MALFORMED) as error:
        raise CheckpointError(f"{folder / ABOUT} is damaged: {error!r:.200}") from error
    if not same:
        raise CheckpointError(f"{file} is damaged: its bytes are not those that were written")
    return file, about


def _text(path: Path) -> str:
    """The content of a description; one of a gigabyte is none."""
    with _regular(path).open("rb") as file:
        raw = file.read(MOST_ABOUT_BYTES + 1)
    if len(raw) > MOST_ABOUT_BYTES:
        raise CheckpointError(f"{path} is damaged: it is larger than {MOST_ABOUT_BYTES} bytes")
    return raw.decode("utf-8")


def _regular(path: Path) -> Path:
    """`path`, which is a file: a link may lead anywhere, and a pipe may never end."""
    if not stat.S_ISREG(path.lstat().st_mode):
        raise CheckpointError(f"{path} is no regular file")
    return path


def _save(state: dict[str, Any], folder: Path) -> Path:
    """The file of `state` in `folder`: JSON from a run that never needed torch, which takes seconds to import."""
    if "torch" not in sys.modules:
        (folder / PLAIN_STATE).write_text(json.dumps(state), encoding="utf-8")
        return folder / PLAIN_STATE
    import torch

    with (folder / STATE).open("wb") as file:  # given a path, torch hides what the disk said
        torch.save(state, file)
    return folder / STATE


def _load(file: Path) -> dict[str, Any]:
    if file.name == PLAIN_STATE:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    with zipfile.ZipFile(file) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > file.stat().st_size:
            raise zipfile.BadZipFile("it would unpack to more than was ever written")
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks on formats that are refused in the next line
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
