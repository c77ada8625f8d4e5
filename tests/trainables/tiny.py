"""The two image models, small enough to train in a test."""

from __future__ import annotations

import torch

from trainables import catalog
from trainables.beta_vae.task import BetaVae
from trainables.contract import ImageModel, RunSpec, Scalar
from trainables.data import ImageData
from trainables.ncsn.task import Ncsn
from trainables.training import ImageRun, seeded_weights

SMALL: dict[str, dict[str, Scalar]] = {
    "ncsn": {"width": 8, "num_scales": 4, "batch_size": 8, "groups": 2},
    "refinenet": {"width": 4, "num_scales": 4, "batch_size": 8, "arch": "refinenet"},
    "resunet": {"width": 4, "num_scales": 4, "batch_size": 8, "groups": 2, "arch": "resunet"},
    "beta_vae": {"width": 4, "latent_dim": 6, "batch_size": 8},
}


def tiny_data(resolution: int = 16, images: int = 30) -> ImageData:
    """Return random pixels."""
    generator = torch.Generator().manual_seed(0)
    train = torch.randint(256, (images, 3, resolution, resolution), generator=generator, dtype=torch.uint8)
    labels = torch.zeros(images, dtype=torch.int64)
    return ImageData(
        train, labels, train, labels, train, labels, ("all",), mean=0.5, variance=1 / 12, fingerprint=f"{resolution}"
    )


def tiny_spec(kind: str, *, seed: int = 0, **params: Scalar) -> RunSpec:
    """Return a spec with the catalog's defaults, overridden by SMALL[kind] and `params`."""
    model = kind if kind in catalog.MODELS else "ncsn"
    defaults = {name: entry.default for name, entry in catalog.MODELS[model].parameters.items()}
    return RunSpec(model=model, params={**defaults, **SMALL[kind], **params}, seed=seed)


def tiny_model(spec: RunSpec, resolution: int = 16, channels: int = 3) -> ImageModel:
    shape = (channels, resolution, resolution)
    with seeded_weights(spec.seed):
        if spec.model == "ncsn":
            return Ncsn(spec.params, mean=0.5, variance=1 / 12, shape=shape)
        return BetaVae(spec.params, shape=shape)


def tiny_run(kind: str, *, seed: int = 0, resolution: int = 16, **params: Scalar) -> ImageRun:
    spec = tiny_spec(kind, seed=seed, **params)
    return ImageRun(spec, tiny_model(spec, resolution), tiny_data(resolution), torch.device("cpu"))
