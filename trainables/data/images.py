"""A data set in memory, and the split of its training images."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from trainables.contract import ImageFacts

Array = npt.NDArray[Any]
Pixels = npt.NDArray[np.uint8]


FEWEST_HELD_OUT = 3
"""KID's standard error needs three images."""
PartName = Literal["held_out", "first_half", "second_half"]


class Part(NamedTuple):
    """Images uint8 (N, C, H, W) that no trial trains on, and their factors if they are known."""

    images: Tensor
    factors: Tensor | None


@dataclass(frozen=True, eq=False, repr=False)
class ImageData:
    """Images uint8 (N, C, H, W) and labels int64 (N,), mapped from disk: copy before writing.

    Two data sets are equal if their fingerprints are.
    """

    train: Tensor
    train_labels: Tensor
    held_out: Tensor
    held_out_labels: Tensor
    test: Tensor
    test_labels: Tensor
    classes: tuple[str, ...]
    mean: float
    """Mean of all training pixels, in [0, 1]."""
    variance: float
    """Mean squared deviation of the training pixels from `mean`."""
    fingerprint: str
    """SHA-256 of the data set's name, its resolution, and its training and held-out images.

    It does not depend on the source folder.
    """
    train_factors: Tensor | None = None
    """Factors of each training image (shapes.FACTORS), int64 (N, 7). Only shapes have them."""
    factors: Tensor | None = None
    """Factors of each held-out image."""
    test_factors: Tensor | None = None
    """Factors of each test image."""

    @property
    def facts(self) -> ImageFacts:
        """Facts that a model may be built for."""
        channels, height, width = self.train.shape[1:]
        return ImageFacts((int(channels), int(height), int(width)), self.mean, self.variance)

    def part(self, name: PartName) -> Part:
        """Return all held-out images, or one half of them."""
        half = len(self.held_out) // 2
        here = {"held_out": slice(None), "first_half": slice(half), "second_half": slice(half, None)}[name]
        return Part(self.held_out[here], None if self.factors is None else self.factors[here])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ImageData) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)


class Decoded(NamedTuple):
    """The result of decoding a source: arrays under the field names of ImageData."""

    arrays: dict[str, Array]
    classes: tuple[str, ...]


class Source(NamedTuple):
    """A data set before decoding. `version` changes whenever `decode` would return something else."""

    version: str
    decode: Callable[[], Decoded]


def hold_out(images: Pixels, labels: Array) -> dict[str, Array]:
    """Hold out a random tenth of the training images, at most 5,000. The same images are held out every time."""
    held = min(5000, max(FEWEST_HELD_OUT, len(images) // 10))
    order = np.random.default_rng(0).permutation(len(images))
    return {
        "train": images[order[held:]],
        "train_labels": labels[order[held:]],
        "held_out": images[order[:held]],
        "held_out_labels": labels[order[:held]],
    }


def hold_out_test(images: Pixels, labels: Array) -> dict[str, Array]:
    """Hold out a random tenth as test images, at most 5,000, and then a tenth of the others, the same every time."""
    test = min(5000, max(FEWEST_HELD_OUT, len(images) // 10))
    order = np.random.default_rng(1).permutation(len(images))
    rest, tested = order[test:], order[:test]
    return {**hold_out(images[rest], labels[rest]), "test": images[tested], "test_labels": labels[tested]}


def shuffled(part: str, images: Pixels, labels: Array) -> dict[str, Array]:
    """Return a part of a data set in random order, so that its first n images are a fair sample."""
    order = np.random.default_rng(0).permutation(len(images))
    return {part: images[order], f"{part}_labels": labels[order]}


def with_channels(images: Pixels, channels: int) -> Pixels:
    """Return images (N, channels, H, W) of grey or coloured ones. Grey is Pillow's: 0.299 R + 0.587 G + 0.114 B."""
    if images.shape[1] == channels:
        return images
    if channels == 3:
        return np.repeat(images, 3, axis=1)
    weights = np.array([19595, 38470, 7471], np.uint32)[:, None, None]  # of 65536, as in Pillow
    grey = np.empty((len(images), 1, *images.shape[2:]), np.uint8)
    for start in range(0, len(images), 1000):
        some = slice(start, start + 1000)
        grey[some] = ((images[some] * weights).sum(1, keepdims=True) + 2**15) >> 16
    return grey


def for_retraining(data: ImageData) -> Decoded:
    """Return the images of a retraining: it trains on the held-out images too, and holds out the test images."""
    arrays = {
        "train": np.concatenate([data.train.numpy(), data.held_out.numpy()]),
        "train_labels": np.concatenate([data.train_labels.numpy(), data.held_out_labels.numpy()]),
    }
    for name in ("held_out", "test"):
        arrays |= {name: data.test.numpy(), f"{name}_labels": data.test_labels.numpy()}
    if data.train_factors is not None and data.factors is not None and data.test_factors is not None:
        arrays["train_factors"] = np.concatenate([data.train_factors.numpy(), data.factors.numpy()])
        arrays |= {name: data.test_factors.numpy() for name in ("factors", "test_factors")}
    return Decoded(arrays, data.classes)


def box_average(images: Pixels, factor: int) -> Pixels:
    """Return images (N, C, H, W) downsampled by an integer factor.

    Each pixel is the rounded mean of factor x factor pixels.
    """
    if factor == 1:
        return images
    count, channels, height, width = images.shape
    blocks = images.reshape(count, channels, height // factor, factor, width // factor, factor)
    total = blocks.sum((3, 5), dtype=np.uint32)
    averaged: Pixels = ((total + factor**2 // 2) // factor**2).astype(np.uint8)
    return averaged
