"""The images of a DataSpec."""

from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from trainables.cache_folder import cache_folder
from trainables.contract import DataError, DataSpec
from trainables.data import cache as disk
from trainables.data import cifar10, folder, shapes
from trainables.data.images import ImageData

SOURCES = {"cifar10": cifar10.source, "folder": folder.source, "shapes": shapes.source}
SMALLEST = 16
"""Smallest image side that the features of metrics/randconv.py accept."""


def load(spec: DataSpec, cache: Path | None = None) -> ImageData:
    """Return the images of `spec`, decoded by the first process that needs them and kept in `cache`.

    Raise DataError.
    """
    if spec.name not in SOURCES:
        raise DataError(f"there is no data set {spec.name!r}: choose one of {', '.join(SOURCES)}")
    if spec.resolution < SMALLEST:
        raise DataError(f"resolution must be {SMALLEST} pixels or more, not {spec.resolution}")
    return _load(spec, cache_folder(cache))


@lru_cache(maxsize=2)
def _load(spec: DataSpec, cache: Path) -> ImageData:
    source = SOURCES[spec.name](spec, cache)
    identity = f"{spec.name}-{spec.resolution}"
    key = sha256(repr((disk.FORMAT, identity, source.version)).encode()).hexdigest()[:16]
    return disk.fetch(cache / f"{identity}-{key}", identity, source.decode, spec.path)
