"""Features of a small classifier, trained on the labels of the training images and then frozen for all trials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from hashlib import sha256
from io import BytesIO
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables import precision
from trainables.contract import FeaturesError
from trainables.metrics.randconv import unit
from trainables.progress import report

RECIPE = "cnn 1"
"""Raise its number when the same images would give other features."""
SEED = 20240229
WIDTHS, DIMENSIONS, SIDE = (16, 32, 64), 128, 4
BATCH, LR, IMAGES = 128, 2e-3, 48_000
CHUNK = {"cpu": 200, "cuda": 2000}


class Cnn:
    """Features float32 (N, 128) of images (N, 3, H, W), computed on the GPU if there is one."""

    name = "cnn"

    def __init__(self, network: _Classifier) -> None:
        self.network = network.cpu().eval().requires_grad_(False)
        digest = sha256(RECIPE.encode())
        for name, weight in self.network.state_dict().items():
            digest.update(name.encode() + weight.numpy().tobytes())
        self.fingerprint = digest.hexdigest()

    def __call__(self, images: Tensor) -> Tensor:
        device = precision.default_device()
        network = precision.on_device(self.network, device)
        with torch.inference_mode(), precision.exact():
            parts = torch.split(images, CHUNK[device.type])
            return torch.cat([network.features(unit(part, device)).cpu() for part in parts]).clone()

    def accuracy(self, images: Tensor, targets: Tensor) -> list[float]:
        """Return the share of images (N, 3, H, W) whose target (N, heads) each head predicts."""
        with torch.inference_mode():
            guesses = [self.network(unit(chunk, torch.device("cpu"))) for chunk in torch.split(images, CHUNK["cpu"])]
        heads = [torch.cat([one.argmax(1) for one in head]) for head in zip(*guesses, strict=True)]
        return [float((head == target).float().mean()) for head, target in zip(heads, targets.T, strict=True)]

    def dump(self) -> bytes:
        """Return weights and sizes as bytes for `load`."""
        file = BytesIO()
        torch.save({"sizes": self.network.sizes, "weights": self.network.state_dict()}, file)
        return file.getvalue()

    @classmethod
    def load(cls, content: bytes) -> Cnn:
        """Return the classifier from the bytes of `dump`, read as weights only.

        Raise FeaturesError for anything else.
        """
        try:
            saved: dict[str, Any] = torch.load(BytesIO(content), map_location="cpu", weights_only=True)
            network = _Classifier(saved["sizes"])
            network.load_state_dict(saved["weights"])
        except Exception as error:
            raise FeaturesError(f"the weights of the cnn features cannot be read: {error!r:.200}") from None
        return cls(network)


def train(images: Tensor, targets: Tensor, device: torch.device) -> Cnn:
    """Train on images uint8 (N, 3, H, W) with targets int64 (N, heads), one classification head per target.

    Training uses Adam, a one-cycle learning rate and no augmentation. It sees about IMAGES images in total (at least
    one epoch), whatever N is.
    """
    sizes = [int(column.max()) + 1 for column in targets.T]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(SEED)
        network = _Classifier(sizes).to(device)
    generator = torch.Generator().manual_seed(SEED)
    epochs = max(1, math.ceil(IMAGES / len(images)))
    batches = max(1, len(images) // BATCH)
    optimizer = torch.optim.Adam(network.parameters(), lr=LR, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=epochs * batches)
    pixels, answers = images.to(device), targets.to(device)
    network.train()
    for epoch in range(epochs):
        report(f"training the cnn features: epoch {epoch + 1} of {epochs}")
        order = torch.randperm(len(images), generator=generator).to(device)
        for batch in order.chunk(batches):
            loss = torch.stack(
                [
                    F.cross_entropy(head, answers[batch, i])
                    for i, head in enumerate(network(unit(pixels[batch], device)))
                ]
            ).sum()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return Cnn(network)


class _Classifier(nn.Module):
    """Three convolutions, a linear layer on their 4x4 map (which keeps positions), and one linear head per target."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.sizes = [int(size) for size in sizes]
        layers: list[nn.Module] = []
        for index, (inputs, outputs) in enumerate(zip((3, *WIDTHS), WIDTHS, strict=False)):
            layers += [
                nn.Conv2d(inputs, outputs, 3, stride=1 + (index > 0), padding=1),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            ]
        self.body = nn.Sequential(
            *layers, nn.AdaptiveAvgPool2d(SIDE), nn.Flatten(), nn.Linear(WIDTHS[-1] * SIDE**2, DIMENSIONS)
        )
        self.heads = nn.ModuleList([nn.Linear(DIMENSIONS, size) for size in self.sizes])

    def features(self, x: Tensor) -> Tensor:
        features: Tensor = self.body(x)
        return features  # (B, DIMENSIONS)

    def forward(self, x: Tensor) -> list[Tensor]:
        hidden = self.features(x).relu()
        return [head(hidden) for head in self.heads]
