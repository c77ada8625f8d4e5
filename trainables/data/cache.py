"""Decoded images on disk: made once for all processes, whole or not at all, then mapped into each one's memory."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainables.contract import DataError
from trainables.data.images import Array, Decoded, ImageData, Pixels

FORMAT = 1
"""Raise it when an old entry must not be read any more."""
log = logging.getLogger(__name__)


def cache_folder(given: Path | None = None) -> Path:
    """`given`, else $TUNE_APP_CACHE, else ~/.cache/tune_app, else (not writable) a private temporary folder."""
    chosen = given or os.environ.get("TUNE_APP_CACHE")
    if chosen:
        folder = Path(chosen).resolve()
        if _writable(folder):
            return folder
        raise DataError(f"cache folder {folder} cannot be written: set TUNE_APP_CACHE to one that can")
    try:
        home = Path("~/.cache/tune_app").expanduser()
    except RuntimeError:  # a user without a home, as in some containers
        return _private_folder()
    return home if _writable(home) else _private_folder()


def fetch(entry: Path, identity: str, decode: Callable[[], Decoded]) -> ImageData:
    """The data in folder `entry`, decoded into it first if it is missing or damaged."""
    data = _read(entry)
    if data is not None:
        return data
    try:
        with locked(entry.with_suffix(".lock")):
            data = _read(entry)  # another process may have made it while this one waited
            if data is None:
                _write(entry, identity, decode())
                data = _read(entry)
    except OSError as error:
        raise DataError(
            f"decoded images cannot be kept in {entry.parent} ({error.strerror or error}): "
            "set TUNE_APP_CACHE to a folder with room"
        ) from error
    if data is None:
        raise DataError(f"{entry} does not read back as it was written: set TUNE_APP_CACHE to a folder on another disk")
    return data


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock file `path` against all other processes; the system frees it when the holder dies."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _read(entry: Path) -> ImageData | None:
    """The mapped entry, or None when there is none or its arrays are not those that were written."""
    if not entry.exists():
        return None
    try:
        about: dict[str, Any] = json.loads((entry / "about.json").read_text())
        arrays: dict[str, Array] = {name: np.load(entry / f"{name}.npy", mmap_mode="c") for name in about["arrays"]}
        if _digest(arrays) == about["digest"]:
            return ImageData(
                **{name: torch.from_numpy(array) for name, array in arrays.items()},
                classes=tuple(about["classes"]),
                mean=about["mean"],
                variance=about["variance"],
                fingerprint=about["fingerprint"],
            )
    except (OSError, ValueError, EOFError, KeyError, TypeError) as error:
        log.debug("%s: %s", entry, error)
    log.warning("%s is damaged; the images are decoded again", entry)
    return None


def _write(entry: Path, identity: str, decoded: Decoded) -> None:
    """Write beside `entry`, then rename; called under its lock."""
    arrays = {name: np.ascontiguousarray(array) for name, array in decoded.arrays.items()}
    mean, variance = _moments(arrays["train"])
    about = {
        "arrays": list(arrays),
        "classes": decoded.classes,
        "mean": mean,
        "variance": variance,
        "fingerprint": _digest({name: arrays[name] for name in ("train", "held_out")}, identity),
        "digest": _digest(arrays),
    }
    partial = entry.with_suffix(".partial")
    for old in (partial, entry):  # left by a process that died, or damaged
        shutil.rmtree(old, ignore_errors=True)
    partial.mkdir()
    for name, array in arrays.items():
        np.save(partial / f"{name}.npy", array)
    (partial / "about.json").write_text(json.dumps(about))
    partial.rename(entry)


def _digest(arrays: dict[str, Array], identity: str = "") -> str:
    digest = sha256(identity.encode())
    for name, array in arrays.items():
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def _moments(images: Pixels) -> tuple[float, float]:
    """Mean and variance of all pixels in [0, 1], exact: from the count of each of the 256 values."""
    blocks = np.array_split(images, len(images) // 1000 + 1)
    counts = sum(np.bincount(block.ravel(), minlength=256) for block in blocks)
    share = np.asarray(counts) / images.size
    values = np.arange(256) / 255
    mean = float(share @ values)
    return mean, float(share @ (values - mean) ** 2)


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def _private_folder() -> Path:
    folder = Path(tempfile.gettempdir()) / f"tune_app-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077:
        return folder
    return Path(tempfile.mkdtemp(prefix="tune_app-"))  # the name was taken by somebody else
