"""Metrics of samples against held-out images, made once for a sweep and shared by its trials."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from statistics import fmean
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from trainables import data as data_sets
from trainables import precision
from trainables.cache_folder import cache_folder
from trainables.contract import SAMPLE_METRICS, DataSpec, ErrorParts, FeaturesError
from trainables.data import ImageData
from trainables.data.images import PartName
from trainables.files import write_file
from trainables.locks import locked
from trainables.metrics import cnn, randconv
from trainables.metrics.corruptions import CORRUPTIONS, blurred
from trainables.metrics.frechet import frechet_distance, moments
from trainables.metrics.inception import Inception
from trainables.metrics.kid import FEWEST, NO_UNIT, Estimate, Reference, Unit, kid
from trainables.progress import report

PAIRED = 5000
"""Images between which the mean distance is taken."""
FIRST_VERSION_IMAGES = 2000
FEWEST_IMAGES = 64
"""Held-out images below which the re-evaluation uses those of the sweep: half of them would tell nothing."""
CORRUPTED_IMAGES = 2000
"""Images that are corrupted for the scale of kid."""
FID_IMAGES = 50_000
"""Least number of samples for which a Fréchet distance on Inception features may be called FID."""


class FeatureSet(Protocol):
    """Maps images (N, 3, H, W), uint8 or in [0, 1], to features (N, d). Compare only values of one fingerprint."""

    name: str
    fingerprint: str

    def __call__(self, images: Tensor) -> Tensor: ...


class Measure:
    """Distances to real images `reference` (N, C, H, W) in one feature set.

    The features are standardised with `unit`, or with the reference's own mean and standard deviation if it is None.
    """

    def __init__(
        self, features: FeatureSet, reference: Tensor, train: Tensor | None = None, unit: Unit | None = None
    ) -> None:
        self.name, self.fingerprint = features.name, features.fingerprint
        self.features = features
        self.images = len(reference)
        """Number of real images."""
        self._unit = unit
        sharp = features(reference)
        self._reference = Reference(sharp, unit)
        self._moments = moments(sharp)
        self._train = (
            None if train is None else moments(torch.cat([features(chunk) for chunk in torch.split(train, 1000)]))
        )
        some = reference[:CORRUPTED_IMAGES]
        self.blurred = self.kid_of_copies(some, blurred(some))

    @property
    def label(self) -> str:
        """Return name and fingerprint, short enough for every result."""
        return f"{self.name} {self.fingerprint[:12]}"

    @property
    def unit(self) -> Unit:
        """Mean and standard deviation that features are standardised with."""
        return self._reference.unit

    def kid(self, features: Tensor) -> Estimate:
        """Return the kernel inception distance of sample features (m, d)."""
        return kid(features, self._reference)

    def kid_of_copies(self, images: Tensor, copies: Tensor) -> float:
        """Return the kid of copies of real images (corrupted or reconstructed) against other real images.

        An image resembles its own copy, so the even images are compared with the odd ones, and vice versa.
        """
        sharp, soft = self.features(images), self.features(copies)
        halves = [(soft[::2], sharp[1::2]), (soft[1::2], sharp[::2])]
        if len(images) < 2 * FEWEST:
            halves = [(soft, sharp)]
        return fmean(kid(one, Reference(other, self._unit)).value for one, other in halves)

    def frechet(self, features: Tensor) -> dict[str, float]:
        """Return the Fréchet distance `fd`.

        Also return `fid` if its reference statistics were prepared (Inception features only) and there are at least
        50,000 samples.
        """
        drawn = moments(features)
        distances = {"fd": frechet_distance(self._moments, drawn)}
        if self._train is not None and len(features) >= FID_IMAGES:
            distances["fid"] = frechet_distance(self._train, drawn)
        return distances


class Measured(NamedTuple):
    """Metrics of samples, and the parts of the errors of those that have them."""

    metrics: dict[str, float]
    errors: dict[str, ErrorParts]


@dataclass(frozen=True)
class SampleMetrics:
    """The sweep's own feature set, the other one as a check, and the distance between real images."""

    main: Measure
    other: Measure | None
    spread: float
    """Mean Euclidean distance between two real images in [0, 1]."""
    scale: dict[str, float] = field(default_factory=dict)
    """The main set's kid of real images, corrupted in each way of corruptions.py."""
    part: PartName = "held_out"
    """The real images with which samples are compared, and on which the model is judged."""
    fresh: SampleMetrics | None = None
    """The same for the re-evaluation, with real images that no decision of the search has seen.

    None if there are too few images, or if a version that used the same images again started the experiment.
    """

    @property
    def compared(self) -> int:
        """Return the number of real images."""
        return self.main.images

    @property
    def fingerprints(self) -> dict[str, str]:
        """Return the fingerprint of each feature set by name, the sweep's own first."""
        return {measure.name: measure.fingerprint for measure in (self.main, self.other) if measure}

    @property
    def cnn(self) -> bytes:
        """Return the weights of the trained features for `build_sample_metrics(saved=...)`, empty if not used."""
        sets = [measure.features for measure in (self.main, self.other) if measure]
        return next((features.dump() for features in sets if isinstance(features, cnn.Cnn)), b"")

    def measure(self, samples: Tensor) -> Measured:
        """Return the metrics of samples uint8 (N, C, H, W)."""
        features = self.main.features(samples)
        found = {"kid": self.main.kid(features)}
        if self.other:
            found["kid_alt"] = self.other.kid(self.other.features(samples))
        metrics = {name: estimate.value for name, estimate in found.items()}
        metrics |= {f"{name}_stderr": estimate.stderr for name, estimate in found.items()}
        errors = {name: ErrorParts(one.samples_stderr, one.without_group) for name, one in found.items()}
        if self.main.blurred > 0:  # it is 0 for flat images
            metrics["kid_blurs"] = metrics["kid"] / self.main.blurred
        if self.spread > 0:
            metrics["diversity"] = mean_distance(samples) / self.spread
        return Measured({**metrics, **self.main.frechet(features)}, errors)


def build_sample_metrics(
    data: ImageData, features: str = "randconv", *, saved: bytes = b"", fid: bool = False, version: int = SAMPLE_METRICS
) -> SampleMetrics:
    """Return the sample metrics of a data set. `features`: auto, randconv, cnn or inception:PATH.

    `saved` holds the weights of the cnn features that the sweep started with. Without it, the cnn is trained once for
    each data set and kept in the cache folder. With `fid`, prepare the reference statistics for FID as well. Raise
    FeaturesError.
    """
    main, other = _pair(features, labelled=len(data.classes) > 1)
    makers: dict[str, Callable[[], FeatureSet]] = {
        "randconv": randconv.RandConv,
        "cnn": lambda: cnn.Cnn.load(saved) if saved else trained(data),
        "inception": lambda: Inception(Path(features.partition(":")[2]).expanduser()),
    }
    part: PartName = "held_out" if version == 1 or len(data.held_out) < FEWEST_IMAGES else "first_half"
    real = data.held_out[:FIRST_VERSION_IMAGES] if version == 1 else data.part(part).images
    report("computing the features of the held-out images")
    everything = torch.cat([data.train, data.held_out]) if fid and main == "inception" else None
    beside = Measure(makers[other](), real) if other else None
    as_they_are = NO_UNIT if main == "inception" and version > 1 else None
    measure = Measure(makers[main](), real, everything, as_they_are)
    some = real[:CORRUPTED_IMAGES]
    scale = {name: measure.kid_of_copies(some, corrupt(some)) for name, corrupt in CORRUPTIONS.items()}
    fresh = _against(data, "second_half", measure, beside, everything) if part == "first_half" else None
    return SampleMetrics(measure, beside, mean_distance(real), scale, part, fresh)


def sample_metrics_of(
    spec: DataSpec, features: str, *, saved: bytes = b"", fid: bool = False, version: int = SAMPLE_METRICS
) -> SampleMetrics:
    """Return the sample metrics for the images of `spec`; see build_sample_metrics.

    Those of a retraining compare with the test images. They use the features of the sweep, standardised as the sweep
    standardised them, so that the values compare with the sweep's.
    """
    images = data_sets.load(spec)
    if spec.evaluated_on == "held_out":
        return build_sample_metrics(images, features, saved=saved, fid=fid, version=version)
    searched = data_sets.load(replace(spec, evaluated_on="held_out"))
    made = build_sample_metrics(searched, features, saved=saved, version=version)
    everything = images.train if fid and made.main.name == "inception" else None
    return replace(_against(images, "held_out", made.main, made.other, everything), scale=made.scale)


def _against(
    data: ImageData, part: PartName, main: Measure, other: Measure | None, everything: Tensor | None
) -> SampleMetrics:
    """Return the metrics of the same feature sets, in the same units, against other real images."""
    real = data.part(part).images
    return SampleMetrics(
        Measure(main.features, real, everything, main.unit),
        Measure(other.features, real, unit=other.unit) if other else None,
        mean_distance(real),
        part=part,
    )


@lru_cache(maxsize=2)
def default_sample_metrics(data: ImageData) -> SampleMetrics:
    """Return sample metrics for runs outside a sweep. Their features are fixed, and each process makes them once."""
    reference = data.held_out[:FIRST_VERSION_IMAGES]
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
        classifier = cnn.train(data.train, targets, precision.default_device())
        write_file(path, classifier.dump())
    return classifier


def mean_distance(images: Tensor) -> float:
    """Return the mean Euclidean distance between the first PAIRED images uint8 (N, C, H, W), scaled to [0, 1]."""
    flat = images[:PAIRED].flatten(1).float() / 255
    total = sum(float(torch.cdist(block, flat).double().sum()) for block in torch.split(flat, 500))
    return total / (len(flat) * (len(flat) - 1))


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
