"""Metrics of samples against held-out images, made once for a sweep and shared by its trials."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from statistics import fmean
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from trainables import precision
from trainables.contract import FeaturesError
from trainables.data import ImageData
from trainables.data.cache import cache_folder
from trainables.files import write_file
from trainables.locks import locked
from trainables.metrics import cnn, randconv
from trainables.metrics.frechet import frechet_distance, moments
from trainables.metrics.inception import Inception
from trainables.metrics.kid import FEWEST, Estimate, Reference, kid

REFERENCE_IMAGES, PAIRED = 2000, 5000
FID_IMAGES = 50_000
"""Number of samples from which a Frechet distance on Inception features may be called FID."""


class FeatureSet(Protocol):
    """Maps images (N, 3, H, W), uint8 or in [0, 1], to features (N, d). Values of two fingerprints do not compare."""

    name: str
    fingerprint: str

    def __call__(self, images: Tensor) -> Tensor: ...


class Measure:
    """Distances to held-out images in one feature set."""

    def __init__(self, features: FeatureSet, reference: Tensor, train: Tensor | None = None) -> None:
        self.name, self.fingerprint = features.name, features.fingerprint
        self.features = features
        found = features(reference)
        self._reference = Reference(found)
        self._moments = moments(found)
        self._train = (
            None if train is None else moments(torch.cat([features(chunk) for chunk in torch.split(train, 1000)]))
        )
        # an image resembles its own blur, so blurred even images are compared with the odd ones, and vice versa
        soft = features(blurred(reference))
        halves = [(soft[::2], found[1::2]), (soft[1::2], found[::2])]
        if len(reference) < 2 * FEWEST:
            halves = [(soft, found)]
        self.blurred = fmean(kid(one, Reference(other)).value for one, other in halves)

    @property
    def label(self) -> str:
        """Return name and fingerprint, short enough for every result."""
        return f"{self.name} {self.fingerprint[:12]}"

    def kid(self, features: Tensor) -> Estimate:
        """Return the kernel inception distance of sample features (m, d)."""
        return kid(features, self._reference)

    def frechet(self, features: Tensor) -> dict[str, float]:
        """Return `fd`, and `fid` too if the convention holds: Inception features, 50,000 images."""
        drawn = moments(features)
        found = {"fd": frechet_distance(self._moments, drawn)}
        if self._train is not None and len(features) >= FID_IMAGES:
            found["fid"] = frechet_distance(self._train, drawn)
        return found


@dataclass(frozen=True)
class SampleMetrics:
    """The sweep's own feature set, the other one as a check, and the distance between real images."""

    main: Measure
    other: Measure | None
    spread: float
    """Mean Euclidean distance of two held-out images in [0, 1]."""

    @property
    def fingerprints(self) -> dict[str, str]:
        """Return the fingerprint of each feature set by name, the sweep's own first."""
        return {measure.name: measure.fingerprint for measure in (self.main, self.other) if measure}

    @property
    def cnn(self) -> bytes:
        """Return the weights of the trained features for `build_sample_metrics(saved=...)`, empty if not used."""
        sets = [measure.features for measure in (self.main, self.other) if measure]
        return next((found.dump() for found in sets if isinstance(found, cnn.Cnn)), b"")

    def measure(self, samples: Tensor) -> dict[str, float]:
        """Return the metrics of samples uint8 (N, C, H, W)."""
        features = self.main.features(samples)
        value, stderr = self.main.kid(features)
        found = {"kid": value, "kid_stderr": stderr}
        if self.main.blurred > 0:  # it is 0 for flat images
            found["kid_blurs"] = value / self.main.blurred
        if self.other:
            found["kid_alt"], found["kid_alt_stderr"] = self.other.kid(self.other.features(samples))
        if self.spread > 0:
            found["diversity"] = mean_distance(samples) / self.spread
        return {**found, **self.main.frechet(features)}


def build_sample_metrics(
    data: ImageData, features: str = "randconv", *, saved: bytes = b"", fid: bool = False
) -> SampleMetrics:
    """Return the sample metrics of a data set. `features`: auto, randconv, cnn or inception:PATH.

    `saved` are the weights of the cnn features that a sweep started with. Without them the cnn is trained once for each
    data set and kept in the cache folder. `fid` also prepares all training images. Raise FeaturesError.
    """
    main, other = _pair(features, labelled=len(data.classes) > 1)
    makers: dict[str, Callable[[], FeatureSet]] = {
        "randconv": randconv.RandConv,
        "cnn": lambda: cnn.Cnn.load(saved) if saved else trained(data),
        "inception": lambda: Inception(Path(features.partition(":")[2]).expanduser()),
    }
    reference = data.held_out[:REFERENCE_IMAGES]
    everything = torch.cat([data.train, data.held_out]) if fid and main == "inception" else None
    beside = Measure(makers[other](), reference) if other else None
    return SampleMetrics(Measure(makers[main](), reference, everything), beside, mean_distance(reference))


@lru_cache(maxsize=2)
def default_sample_metrics(data: ImageData) -> SampleMetrics:
    """Return sample metrics with fixed features only, made once for each process: for runs outside a sweep."""
    reference = data.held_out[:REFERENCE_IMAGES]
    return SampleMetrics(Measure(randconv.RandConv(), reference), None, mean_distance(reference))


def trained(data: ImageData) -> cnn.Cnn:
    """Return the classifier of a data set. The first process trains it; the cache folder keeps it."""
    targets = data.train_labels[:, None] if data.train_factors is None else data.train_factors
    key = sha256(f"{cnn.RECIPE} {data.fingerprint}".encode()).hexdigest()[:16]
    path = cache_folder() / f"cnn-{key}.pt"
    with locked(path.with_suffix(".lock")):
        if path.exists():
            try:
                return cnn.Cnn.load(path.read_bytes())
            except FeaturesError:
                path.unlink()
        found = cnn.train(data.train, targets, precision.default_device())
        write_file(path, found.dump())
    return found


def mean_distance(images: Tensor) -> float:
    """Return the mean Euclidean distance of two of the first PAIRED images uint8 (N, C, H, W), in units of [0, 1]."""
    flat = images[:PAIRED].flatten(1).float() / 255
    total = sum(float(torch.cdist(block, flat).double().sum()) for block in torch.split(flat, 500))
    return total / (len(flat) * (len(flat) - 1))


def blurred(images: Tensor) -> Tensor:
    """Return images uint8 (N, C, H, W) with each pixel replaced by the mean of its 3x3 neighbourhood."""
    padded = F.pad(images.float(), (1, 1, 1, 1), mode="replicate")
    return F.avg_pool2d(padded, 3, stride=1).round().byte()


def _pair(features: str, *, labelled: bool) -> tuple[str, str]:
    """Return the names of the requested feature set and of the other one, empty if there is none."""
    name = features.partition(":")[0]
    if name == "auto":
        name = "cnn" if labelled else "randconv"
    if name == "cnn" and not labelled:
        raise FeaturesError("cnn needs images of two classes or more; use randconv")
    if name == "cnn":
        return name, "randconv"
    return name, "cnn" if labelled else {"inception": "randconv"}.get(name, "")
