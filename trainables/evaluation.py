"""Metrics and pictures from samples and held-out images, the same for every image model."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isfinite

import torch
from torch import Tensor, nn

from trainables.catalog import sign
from trainables.contract import ErrorParts, Evaluation, ImageModel, Judgement, NonFiniteError, RunSpec, Scalar
from trainables.data import ImageData
from trainables.model import Metric
from trainables.pictures import png
from trainables.plugin_code import entry_of
from trainables.precision import all_finite, autocast, for_inference
from trainables.progress import report
from trainables.sample_metrics import SampleMetrics

CHUNK = {"cpu": 256, "cuda": 1024}
"""Images that are sampled at a time. It affects the numbers, because the noise is drawn chunk by chunk."""
JUDGED_IMAGES = 1024
SAMPLES_SHOWN, COLUMNS = 64, 8
HELD_OUT_SHOWN = 32
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Drawn:
    """The samples of one sampling setting and their metrics."""

    sampling: Mapping[str, Scalar]
    """The setting as the space names it."""
    settled: Mapping[str, Scalar]
    """The setting with its derived values."""
    metrics: dict[str, float]
    errors: dict[str, ErrorParts]
    nonfinite: int
    """Number of images with a value that is not finite."""
    shown: Tensor
    """The first few samples, uint8."""


@dataclass(frozen=True)
class Subject:
    """The network to evaluate, and the seed of every draw for it."""

    model: ImageModel
    network: nn.Module
    data: ImageData
    sample_metrics: SampleMetrics
    seed: int
    metrics: Mapping[str, Metric]
    """The model's metrics in the catalog."""

    @property
    def device(self) -> torch.device:
        return next((weight.device for weight in self.network.parameters()), torch.device("cpu"))

    def generator(self) -> torch.Generator:
        """Return a new generator, so sampling settings, losses and pictures get the same noise in every evaluation."""
        return torch.Generator(self.device).manual_seed(self.seed)

    def real(self, count: int) -> tuple[Tensor, Tensor | None]:
        """Return at most `count` images in [0, 1] that no trial trains on, and their factors if they are known."""
        images, factors = self.data.part(self.sample_metrics.part)
        return images[:count].to(self.device).float() / 255, None if factors is None else factors[:count]


def evaluate(
    model: ImageModel,
    network: nn.Module,
    spec: RunSpec,
    data: ImageData,
    sample_metrics: SampleMetrics,
    *,
    final: bool,
    seed: int,
) -> Evaluation:
    """Return the model's own metrics on held-out images, and the sample metrics of the best sampling setting.

    Samples are drawn and measured for every setting. `network` is left in evaluation mode. Raise NonFiniteError if a
    weight, a loss or the samples of every setting are not finite.
    """
    began = time.perf_counter()
    network.eval()
    _check_weights(network)
    subject = Subject(model, for_inference(network), data, sample_metrics, seed, entry_of(spec).metrics)
    settings = spec.final_sampling if final else spec.sampling
    count = spec.final_samples if final else spec.samples
    with torch.inference_mode():
        judged = _judge(subject, spec.common_seed)
        tried = [_try(subject, setting, count, spec.nfe) for setting in settings]
        best = _best(tried, _chooser(subject.metrics, spec.metric))
        pictures = {"samples": png(best.shown / 255, columns=COLUMNS), **_model_pictures(subject)}
    metrics = {
        **best.metrics,
        **judged.metrics,
        **(_of_reconstructions(subject, judged) if final else {}),
        "nfe": float(best.settled.get("nfe", 1)),
        "nonfinite": sum(drawn.nonfinite for drawn in tried) / (count * len(tried)),
        "evaluation_seconds": time.perf_counter() - began,
    }
    curve = [_row(drawn) for drawn in tried] if any(settings) else []
    sampling, settled = dict(best.sampling), dict(best.settled)
    label = sample_metrics.main.label
    return Evaluation(metrics, sampling, settled, curve, judged.levels, pictures, label, best.errors)


def _row(drawn: Drawn) -> dict[str, Scalar]:
    """Return a row of the curve: the setting, each used value that differs from the setting's, and the metrics."""
    named, used = drawn.sampling, drawn.settled
    derived = {f"used_{name}" if name in named else name: used[name] for name in used if used[name] != named.get(name)}
    return {**named, **derived, **drawn.metrics}


def _try(subject: Subject, sampling: Mapping[str, Scalar], count: int, nfe: int) -> Drawn:
    samples, nonfinite = _draw(subject, sampling, count, nfe)
    metrics, errors = subject.sample_metrics.measure(samples)
    metrics |= _own_metrics(subject, samples)
    if nonfinite:
        log.warning("%d of %d samples are not finite; setting %s is skipped", nonfinite, count, dict(sampling))
        metrics = {name: sign(name) * inf for name in metrics}
    settled = subject.model.settled(sampling, nfe)
    return Drawn(sampling, settled, metrics, errors, nonfinite, samples[:SAMPLES_SHOWN])


def _draw(subject: Subject, sampling: Mapping[str, Scalar], count: int, nfe: int) -> tuple[Tensor, int]:
    """Return samples uint8 (count, C, H, W), rounded as in a file, and the number of samples that were not finite."""
    generator = subject.generator()
    chunks: list[Tensor] = []
    nonfinite = 0
    size = CHUNK[subject.device.type]
    for start in range(0, count, size):
        report(f"sampling images: {start:,} of {count:,}")
        with autocast(subject.device):
            wanted = min(size, count - start)
            x = subject.model.sample(subject.network, wanted, sampling, nfe, generator).float()
        _check_shape(x, (wanted, *subject.data.facts.shape))
        nonfinite += int((~x.isfinite()).flatten(1).any(1).sum())
        chunks.append(_eight_bits(x.nan_to_num(0.0)))
    return torch.cat(chunks), nonfinite


def _check_shape(x: Tensor, expected: tuple[int, ...]) -> None:
    if x.shape != expected:
        raise ValueError(f"sample must return images of shape {expected}, not {tuple(x.shape)}")


def _own_metrics(subject: Subject, samples: Tensor) -> dict[str, float]:
    """Return the metrics that a plug-in computes from samples."""
    own = {name: metric.of_samples for name, metric in subject.metrics.items() if metric.of_samples}
    if not own:
        return {}
    real, _ = subject.data.part(subject.sample_metrics.part)
    return {name: float(compute(samples, real, subject.network)) for name, compute in own.items()}


def _chooser(metrics: Mapping[str, Metric], metric: str) -> str:
    """Return the metric that chooses the sampling setting: the sweep's own if it depends on the samples, else kid."""
    known = metrics.get(metric)
    return metric if known and (known.chooses or known.of_samples) else "kid"


def _best(tried: list[Drawn], by: str) -> Drawn:
    """Return the setting that is best by a metric."""
    finite = [drawn for drawn in tried if not drawn.nonfinite]
    if not finite:
        raise NonFiniteError(f"none of {len(tried)} sampling settings gave finite images: lower lr or the step size")
    return min(finite, key=lambda drawn: sign(by) * drawn.metrics[by])


def _judge(subject: Subject, seed: int) -> Judgement:
    generator = torch.Generator(subject.device).manual_seed(seed)
    images, factors = subject.real(JUDGED_IMAGES)
    with autocast(subject.device):
        judged = subject.model.judge(subject.network, images, factors, generator)
    for name, value in judged.metrics.items():
        if not isfinite(value):
            raise NonFiniteError(f"held-out {name} is {value}: lower lr or clip gradients")
    return judged


def _of_reconstructions(subject: Subject, judged: Judgement) -> dict[str, float]:
    """Return the kid of the model's reconstructions of real images: what its decoder does to codes of real images."""
    if judged.reconstructions is None:
        return {}
    real, _ = subject.data.part(subject.sample_metrics.part)
    copies = _eight_bits(judged.reconstructions)
    return {"kid_recon": subject.sample_metrics.main.kid_of_copies(real[: len(copies)], copies)}


def _eight_bits(x: Tensor) -> Tensor:
    """Return images as in a file: uint8, rounded."""
    return (x.float().clamp(0, 1) * 255).round().byte().cpu()


def real_images(data: ImageData) -> bytes:
    """Return a PNG of held-out images, as many and as large as the samples shown."""
    return png(data.held_out[:SAMPLES_SHOWN] / 255, columns=COLUMNS)


def _model_pictures(subject: Subject) -> dict[str, bytes]:
    with autocast(subject.device):
        grids = subject.model.pictures(subject.network, subject.real(HELD_OUT_SHOWN)[0], subject.generator())
    return {name: png(grid.images, grid.columns) for name, grid in grids.items()}


def _check_weights(network: nn.Module) -> None:
    if all_finite(network):
        return
    for name, weight in network.state_dict().items():
        if not bool(weight.isfinite().all()):
            raise NonFiniteError(f"weight {name} is no longer finite: lower lr or clip gradients")
