"""The images of a DataSpec."""

from dataclasses import replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from trainables.cache_folder import cache_folder
from trainables.contract import DataError, DataSpec
from trainables.data import cache as disk
from trainables.data import cifar10, digits, folder, npz, shapes
from trainables.data.images import FEWEST_HELD_OUT, Decoded, ImageData, for_retraining, with_channels

SOURCES = {
    "cifar10": cifar10.source,
    "digits": digits.source,
    "folder": folder.source,
    "npz": npz.source,
    "shapes": shapes.source,
}
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
    identity = spec.identity
    key = sha256(repr((disk.FORMAT, identity, source.version)).encode()).hexdigest()[:16]
    if spec.evaluated_on == "held_out":

        def decode_source() -> Decoded:
            arrays, classes = source.decode()
            changed = {name: with_channels(arrays[name], spec.channels) for name in ("train", "held_out", "test")}
            return Decoded({**arrays, **changed}, classes)

        return disk.fetch(cache / f"{identity}-{key}", identity, decode_source, spec.path)

    def decode() -> Decoded:
        searched = _load(replace(spec, evaluated_on="held_out"), cache)
        if len(searched.test) < FEWEST_HELD_OUT:
            raise DataError(f"a retraining needs {FEWEST_HELD_OUT} test images or more, not {len(searched.test)}")
        return for_retraining(searched)

    # a name that `known_distances` does not take for the images of a sweep
    return disk.fetch(cache / f"retraining-{identity}-{key}", identity, decode, spec.path)
