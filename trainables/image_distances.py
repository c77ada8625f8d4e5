"""Distances between training images, measured once and kept beside the decoded images. Reading them needs no torch."""

import json
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from trainables.cache_folder import cache_folder
from trainables.contract import DataError, DataSpec

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

IMAGES = 2000
KEY_LENGTH = 16
"""Characters that data/sources.py adds to the name of the images for the folder of their cache entry."""


class Distances(NamedTuple):
    """Euclidean distances between two training images in [0, 1], over all pairs of the first IMAGES."""

    median: float
    largest: float


def pairwise_distances(images: "npt.NDArray[np.uint8]") -> Distances:
    """Return the distances between images uint8 (N, C, H, W), which are in random order."""
    import numpy as np

    flat = images[:IMAGES].reshape(min(len(images), IMAGES), -1).astype(np.float64) / 255
    squares = (flat**2).sum(1)
    above = np.triu_indices(len(flat), 1)
    found = np.sqrt(np.maximum(squares[:, None] + squares - 2 * flat @ flat.T, 0)[above])
    return Distances(float(np.median(found)), float(found.max()))


def known_distances(spec: DataSpec) -> Distances | None:
    """Return the distances between the images of `spec`, or None if they were never decoded on this machine."""
    with suppress(DataError, OSError):
        entries = cache_folder().glob(f"{spec.identity}-{'?' * KEY_LENGTH}/about.json")
        for entry in sorted(entries, key=lambda path: -path.stat().st_mtime):
            with suppress(ValueError, KeyError, TypeError):
                about = json.loads(entry.read_text())
                if about["path"] == spec.path:
                    return Distances(float(about["distances"]["median"]), float(about["distances"]["largest"]))
    return None
