"""An .npz file of images and labels, read without unpickling. Needs no torch."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.contract import DataError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

IMAGES, LABELS = "images", "labels"
MOST_BYTES = 2**34
LAYOUT = "uint8 of shape (N, H, W), (N, H, W, 1) or (N, H, W, 3)"


@dataclass(frozen=True)
class Archive:
    """Facts about the images of an .npz file, from its headers alone."""

    path: Path
    count: int
    size: tuple[int, int]
    """Width and height of every image."""
    classes: tuple[str, ...]
    """The different labels as text; empty if there are none."""


def describe(path: str) -> Archive:
    """Return what the file says of its images and labels. Raise DataError."""
    import numpy as np

    file = Path(os.path.realpath(Path(path).expanduser()))
    if not file.is_file():
        raise DataError(f"{file} is not a file")
    shape, kind = _header(file, IMAGES)
    if kind != np.uint8:
        raise DataError(f"{file}: {IMAGES} must be {LAYOUT}, not {kind}: scale them to 0 to 255 and round")
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)) or 0 in shape:
        raise DataError(f"{file}: {IMAGES} must be {LAYOUT}, not of shape {shape}")
    labels = read_labels(file, shape[0])
    classes = () if labels is None else tuple(str(one) for one in np.unique(labels))
    return Archive(file, shape[0], (shape[2], shape[1]), classes)


def read_images(path: Path) -> npt.NDArray[np.uint8]:
    """Return the images of a file that `describe` accepts, uint8 (N, H, W, 1) or (N, H, W, 3)."""
    pixels: npt.NDArray[np.uint8] = _array(path, IMAGES)
    return pixels if pixels.ndim == 4 else pixels[..., None]


def read_labels(path: Path, count: int) -> npt.NDArray[Any] | None:
    """Return the labels of `count` images, (count,), or None if the file has none. Raise DataError."""
    if LABELS not in _names(path):
        return None
    shape, kind = _header(path, LABELS)
    if shape != (count,) or kind.kind not in "iu":
        wanted = f"whole numbers of shape ({count},), one for each image"
        raise DataError(f"{path}: {LABELS} must be {wanted}, not {kind} of shape {shape}")
    return _array(path, LABELS)


def _names(path: Path) -> list[str]:
    """Return the names of the arrays in the file."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except Exception as error:  # a damaged file makes zipfile raise nearly anything
        raise DataError(_damaged(path, error)) from error


def _header(path: Path, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and type of an array. Raise DataError."""
    from numpy.lib import format as npy

    names = _names(path)
    if name not in names:
        held = ", ".join(names[:5]) or "nothing"
        raise DataError(f"{path} holds {held:.200} but no {name}: write it with numpy.savez(FILE, {name}=...)")
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
            size = archive.getinfo(f"{name}.npy").file_size
            read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(file)]
            shape, _, kind = read(file)
    except Exception as error:
        raise DataError(_damaged(path, error)) from error
    if size > MOST_BYTES:
        raise DataError(f"{path}: {name} needs {size:,} bytes of memory, and at most {MOST_BYTES:,} are read")
    return tuple(map(int, shape)), kind


def _array(path: Path, name: str) -> npt.NDArray[Any]:
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as archive:
            array: npt.NDArray[Any] = archive[name]
            return array
    except Exception as error:
        raise DataError(_damaged(path, error)) from error


def _damaged(path: Path, error: Exception) -> str:
    return f"{path} cannot be read as an .npz file ({str(error) or repr(error):.200}): write it with numpy.savez"
