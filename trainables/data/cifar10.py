"""CIFAR-10, downloaded once and checked against its published checksums."""

import socket
import tarfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path

import numpy as np
from torchvision.datasets import CIFAR10

from trainables.contract import DataError, DataSpec
from trainables.data.images import Decoded, Pixels, Source, box_average, hold_out
from trainables.locks import locked
from trainables.progress import growing_file

TIMEOUT_SECONDS, ARCHIVE_MEGABYTES = 30.0, 170.5


def source(spec: DataSpec, cache: Path) -> Source:
    """Return CIFAR-10 at 32 pixels, or averaged down to a divisor of 32."""
    if not 0 < spec.resolution <= 32 or 32 % spec.resolution:
        raise DataError(f"cifar10 has 32x32 pixels: resolution must divide 32, not {spec.resolution}")
    return Source(CIFAR10.tgz_md5, partial(_decode, cache / "cifar10", 32 // spec.resolution))


def _decode(root: Path, factor: int) -> Decoded:
    root.mkdir(exist_ok=True)
    with locked(root / ".lock"):  # one download for all resolutions
        train, test = _official(root)
    arrays = hold_out(box_average(_pixels(train), factor), np.asarray(train.targets, np.int64))
    arrays["test"] = box_average(_pixels(test), factor)
    arrays["test_labels"] = np.asarray(test.targets, np.int64)
    return Decoded(arrays, tuple(train.classes))


def _official(root: Path) -> tuple[CIFAR10, CIFAR10]:
    archive = root / CIFAR10.filename
    try:
        with growing_file(archive, "downloading CIFAR-10", ARCHIVE_MEGABYTES), _quiet(), _timeout():
            return CIFAR10(root, train=True, download=True), CIFAR10(root, train=False, download=True)
    except (OSError, RuntimeError, EOFError, tarfile.TarError) as error:
        state = "is damaged and could not be downloaded anew" if archive.exists() else "could not be downloaded"
        raise DataError(
            f"CIFAR-10 {state} ({error}): place {CIFAR10.filename} (md5 {CIFAR10.tgz_md5}) in {root}, "
            "or choose `--data shapes`, `digits`, `folder:DIR` or `npz:FILE`"
        ) from error


def _pixels(official: CIFAR10) -> Pixels:
    pixels: Pixels = official.data.transpose(0, 3, 1, 2)
    return pixels


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence torchvision's progress bars, and NumPy's warning about how the official files were pickled in 2009."""
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _timeout() -> Iterator[None]:
    """Set a timeout for downloads. torchvision sets none, so a dead connection would block the trial for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
