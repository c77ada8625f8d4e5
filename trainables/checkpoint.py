"""A checkpoint: a folder of two files, written completely or not at all, with weights and plain data only."""

import json
import pickle
import stat
import struct
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

from trainables.files import new_folder, sha256_of

STATE, PLAIN_STATE = "state.pt", "state.json"
ABOUT = "about.json"
MOST_ABOUT_BYTES = 1_000_000
MALFORMED = (ValueError, LookupError, AttributeError, TypeError, RecursionError)
"""Errors of the JSON and pickle parsers, and of code that uses damaged content."""
UNREADABLE = (
    RuntimeError, EOFError, AssertionError, MemoryError, struct.error, pickle.UnpicklingError, zipfile.BadZipFile,
)  # fmt: skip
"""Other errors of torch's reader."""


class CheckpointError(Exception):
    """A checkpoint is missing or damaged."""


class UnwritableError(OSError):
    """A checkpoint could not be written because the disk failed."""


def name_at(images: int) -> str:
    """Return the name of the checkpoint after `images`. Repeated work replaces the checkpoint of the same name."""
    return f"checkpoint_{images:09d}"


def write(folder: Path, state: dict[str, Any], about: dict[str, Any]) -> None:
    """Write `state` (tensors, plain data) and `about` (JSON) as the folder `folder`, completely or not at all.

    Make the parent folder if it is missing, but not the folder above it. Raise UnwritableError.
    """
    try:
        _write(Path(folder), state, about)
    except OSError as error:
        raise UnwritableError(error.errno, error.strerror, error.filename or str(folder)) from error


def _write(folder: Path, state: dict[str, Any], about: dict[str, Any]) -> None:
    folder.parent.mkdir(exist_ok=True)
    with new_folder(folder) as unfinished:
        described = {**about, "sha256": sha256_of(_save(state, unfinished))}
        (unfinished / ABOUT).write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the state and the description of a checkpoint. Raise CheckpointError."""
    file, about = _verified(Path(folder))
    try:
        return _load(file), about
    except (OSError, *MALFORMED, *UNREADABLE) as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from error


def is_complete(folder: Path) -> bool:
    """Return True if `folder` is a complete checkpoint, exactly as `write` makes it. Load nothing and never raise.

    Return False for a link, and for a folder with a third file: Ray would unpickle a file with a certain name.
    """
    folder = Path(folder)
    try:
        file, _ = _verified(folder)
        return not folder.is_symlink() and {path.name for path in folder.iterdir()} == {file.name, ABOUT}
    except (CheckpointError, OSError):
        return False


def _verified(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Check the SHA-256 of the state file. Return the file and the description."""
    try:
        about = json.loads(_text(folder / ABOUT))
        digest = about.pop("sha256")
        file = folder / (PLAIN_STATE if (folder / PLAIN_STATE).exists() else STATE)
        same = digest == sha256_of(_regular(file))
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder} is not a checkpoint: {Path(error.filename).name} is missing") from error
    except (OSError, *MALFORMED) as error:
        raise CheckpointError(f"{folder / ABOUT} is damaged: {error!r:.200}") from error
    if not same:
        raise CheckpointError(f"{file} is damaged: its SHA-256 is wrong")
    return file, about


def _text(path: Path) -> str:
    """Return the content of a description. Raise CheckpointError if it is too large."""
    with _regular(path).open("rb") as file:
        raw = file.read(MOST_ABOUT_BYTES + 1)
    if len(raw) > MOST_ABOUT_BYTES:
        raise CheckpointError(f"{path} is damaged: it is larger than {MOST_ABOUT_BYTES} bytes")
    return raw.decode("utf-8")


def _regular(path: Path) -> Path:
    """Return `path`. Raise CheckpointError if it is not a regular file: reading a pipe or a device may never end."""
    if not stat.S_ISREG(path.lstat().st_mode):
        raise CheckpointError(f"{path} is not a regular file")
    return path


def _save(state: dict[str, Any], folder: Path) -> Path:
    """Write the state and return its file. A run without torch gets JSON, because torch takes seconds to import."""
    if "torch" not in sys.modules:
        (folder / PLAIN_STATE).write_text(json.dumps(state), encoding="utf-8")
        return folder / PLAIN_STATE
    import torch

    with (folder / STATE).open("wb") as file:  # given a path, torch hides the error of the disk
        torch.save(state, file)
    return folder / STATE


def _load(file: Path) -> dict[str, Any]:
    if file.name == PLAIN_STATE:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    refuse_zip_bomb(file)
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings about formats that the next line refuses
        return dict(torch.load(file, map_location="cpu", weights_only=True))


def refuse_zip_bomb(file: Path) -> None:
    """Raise BadZipFile if the archive would unpack to more bytes than the file has. torch never compresses."""
    with zipfile.ZipFile(file) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > file.stat().st_size:
            raise zipfile.BadZipFile(
                "the archive would unpack to more bytes than the file has, so it is damaged or not written by torch"
            )
