"""A folder of images: DIR/train/<class>/*, DIR/test/<class>/*."""

import os
import stat
import struct
import warnings
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS

from trainables.contract import DataError, DataSpec
from trainables.data.images import Array, Decoded, Pixels, Source, hold_out
from trainables.progress import report

LAYOUT = "DIR/train/<class>/* and DIR/test/<class>/*"
FEWEST = 6
REPORTED_IMAGES = 1000


class File(NamedTuple):
    path: str
    label: int
    size: int
    changed_ns: int


def source(spec: DataSpec, _cache: Path) -> Source:
    """Return the images under `spec.path`. Skip names that start with a dot, and files of other types."""
    if not spec.path:
        raise DataError(f"data set folder needs a path: `--data folder:DIR`, where DIR holds {LAYOUT}")
    root = Path(os.path.realpath(Path(spec.path).expanduser()))  # resolve() would raise for a link to itself
    classes = _classes(root, "train")
    if _classes(root, "test") != classes:
        odd = ", ".join(sorted(set(classes) ^ set(_classes(root, "test"))))
        raise DataError(f"{root}: train and test must hold the same classes, but only one of them has {odd}")
    train = [file for label, name in enumerate(classes) for file in _files(root / "train" / name, label)]
    test = [file for label, name in enumerate(classes) for file in _files(root / "test" / name, label)]
    if len(train) < FEWEST:
        raise DataError(f"{root / 'train'} holds {len(train)} images: at least {FEWEST} are needed")
    return Source(
        sha256(repr((str(root), train, test)).encode()).hexdigest(),
        partial(_decode, classes, train, test, spec.resolution),
    )


def _classes(root: Path, split: str) -> tuple[str, ...]:
    folder = root / split
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder: a data folder holds {LAYOUT}")
    classes = tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != "."))
    if not classes:
        raise DataError(f"{folder} holds no class: its images belong in {folder}/<class>/")
    return classes


def _files(folder: Path, label: int) -> list[File]:
    """Return the image files of a class, sorted by path."""
    try:
        files = [_file(path, label) for path in sorted(_images(folder))]
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}") from error
    if not files:
        raise DataError(f"{folder} holds no image: add some ({', '.join(IMG_EXTENSIONS)}) or remove the folder")
    return files


def _images(folder: Path) -> Iterator[str]:
    for parent, folders, names in os.walk(folder, onerror=_unreadable):
        folders[:] = [name for name in folders if name[0] != "."]
        yield from (
            os.path.join(parent, name)  # noqa: PTH118 - 60,000 of them: Path costs a second
            for name in names
            if name[0] != "." and name.lower().endswith(IMG_EXTENSIONS)
        )


def _unreadable(error: OSError) -> NoReturn:
    raise error


def _file(path: str, label: int) -> File:
    status = os.stat(path)  # noqa: PTH116
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path} is not a file: remove it")
    return File(path, label, status.st_size, status.st_mtime_ns)


def _decode(classes: tuple[str, ...], train: list[File], test: list[File], resolution: int) -> Decoded:
    images, labels = _read_all(test, resolution)
    order = np.random.default_rng(0).permutation(len(images))  # the first n images are a fair sample
    testing = {"test": images[order], "test_labels": labels[order]}
    return Decoded({**hold_out(*_read_all(train, resolution)), **testing}, classes)


def _read_all(files: list[File], resolution: int) -> tuple[Pixels, Array]:
    images = np.empty((len(files), 3, resolution, resolution), np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about metadata, which is not used
        for index, file in enumerate(files):  # threads do not help: decoding 32x32 pixels takes 0.1 ms
            if index % REPORTED_IMAGES == 0:
                report(f"decoding images: {index:,} of {len(files):,}")
            images[index] = _read(file.path, resolution).transpose(2, 0, 1)
    return images, np.array([file.label for file in files], np.int64)


def _read(path: str, resolution: int) -> Pixels:
    """Return pixels (H, W, 3). A larger image is box-averaged; its side must be a multiple of `resolution`."""
    try:
        with Image.open(path) as image:
            factor = _factor(path, image, resolution)
            pixels = image.convert("RGB")
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be read as an image ({error}): replace or remove it") from error
    return np.asarray(pixels.reduce(factor) if factor > 1 else pixels)


def _factor(path: str, image: Image.Image, resolution: int) -> int:
    width, height = image.size
    if width != height or width % resolution:
        raise DataError(
            f"{path} has {width}x{height} pixels: {resolution}x{resolution} or a whole multiple is needed; "
            "resize it, or set `data.resolution`"
        )
    if image.mode[0] in "IF":  # Pillow would clip values above 255
        raise DataError(f"{path} has pixels of more than 8 bits: convert it to 8 bits a channel")
    return width // resolution
