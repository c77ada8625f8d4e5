"""Decoded images on disk: written once for all processes, then mapped into the memory of each."""

import json
import logging
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainables.contract import DataError
from trainables.data.images import Array, Decoded, ImageData, Pixels
from trainables.files import UNFINISHED, new_folder
from trainables.image_distances import pairwise_distances
from trainables.locks import locked

FORMAT = 2
"""Raise this number if old entries must not be read any more."""
log = logging.getLogger(__name__)


def fetch(entry: Path, identity: str, decode: Callable[[], Decoded], path: str | None = None) -> ImageData:
    """Return the data in the folder `entry`. Decode it into the folder first if it is missing or damaged.

    `path` is the folder of the images, if they come from one.
    """
    data = _read(entry)
    if data is not None:
        return data
    try:
        with locked(entry.with_suffix(".lock")):
            data = _read(entry)  # another process may have written it meanwhile
            if data is None:
                _write(entry, identity, decode(), path)
                data = _read(entry)
    except OSError as error:
        raise DataError(
            f"decoded images cannot be kept in {entry.parent} ({error.strerror or error}): "
            "set TUNE_APP_CACHE to a folder with room"
        ) from error
    if data is None:
        raise DataError(f"{entry} does not read back as it was written: set TUNE_APP_CACHE to a folder on another disk")
    return data


def _read(entry: Path) -> ImageData | None:
    """Return the entry mapped into memory, or None if it is missing or its digest is wrong."""
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


def _write(entry: Path, identity: str, decoded: Decoded, path: str | None) -> None:
    """Write the entry. The caller holds its lock."""
    arrays = {name: np.ascontiguousarray(array) for name, array in decoded.arrays.items()}
    mean, variance = _moments(arrays["train"])
    about = {
        "arrays": list(arrays),
        "classes": decoded.classes,
        "mean": mean,
        "variance": variance,
        "fingerprint": _digest({name: arrays[name] for name in ("train", "held_out")}, identity),
        "digest": _digest(arrays),
        "path": path,
        "distances": pairwise_distances(arrays["train"])._asdict(),
    }
    for old in (entry, *entry.parent.glob(f"{UNFINISHED}{entry.name}.*")):  # damaged, or left by a killed process
        shutil.rmtree(old, ignore_errors=True)
    with new_folder(entry) as partial:
        for name, array in arrays.items():
            np.save(partial / f"{name}.npy", array)
        (partial / "about.json").write_text(json.dumps(about))


def _digest(arrays: dict[str, Array], identity: str = "") -> str:
    digest = sha256(identity.encode())
    for name, array in arrays.items():
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def _moments(images: Pixels) -> tuple[float, float]:
    """Return the exact mean and variance of all pixels in [0, 1], from the counts of the 256 values."""
    blocks = np.array_split(images, len(images) // 1000 + 1)
    counts = sum(np.bincount(block.ravel(), minlength=256) for block in blocks)
    share = np.asarray(counts) / images.size
    values = np.arange(256) / 255
    mean = float(share @ values)
    return mean, float(share @ (values - mean) ** 2)
