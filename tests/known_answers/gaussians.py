"""Gaussian data with a known spectrum, and the linear VAE that is optimal for it."""

from __future__ import annotations

from math import log
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Spectrum = NDArray[np.float64]
D = 3072


def cifar_like() -> Spectrum:
    """Return eigenvalues (3072,) in descending order with total variance 193.3.

    As for CIFAR-10, the first 99, 217 and 658 explain 90, 95 and 99 % of the variance.
    """
    j = np.arange(1, D + 1)
    lam = 1 / ((j + 2.0739) ** 1.53111 * (1 + (j / 899.7) ** 2.83959))
    found: Spectrum = lam * 193.3 / lam.sum()
    return found


class Point(NamedTuple):
    """Summed squared error and KL in nats, averaged over images."""

    recon: float
    kl: float


def best_linear_vae(lam: Spectrum, latents: int, beta: float) -> Point:
    """Return the minimum of E|x - xhat|^2 + beta KL over all linear VAEs: PCA with reverse water-filling.

    The noise threshold is v = beta / 2. A component with lam > v is coded down to an error of v and costs
    1/2 ln(lam / v) nats. The others are not coded (Lucas et al. 2019).
    """
    v = beta / 2
    coded = lam[:latents][lam[:latents] > v]
    return Point(recon=len(coded) * v + float(lam[len(coded) :].sum()), kl=0.5 * float(np.log(coded / v).sum()))


class LinearVae(nn.Module):
    """The optimal linear VAE at `beta` for images 1/2 + basis sqrt(lam) n of `shape`, with our network's interface."""

    def __init__(self, basis: Tensor, lam: Spectrum, latents: int, beta: float, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.latent_dim, self.shape, v = latents, shape, beta / 2
        known = torch.from_numpy(lam[:latents]).float()
        self.gain = (known - v).clamp(min=0).sqrt()  # 0: the unit is not used
        self.code = self.gain / known
        self.spread = torch.where(known > v, v / known, 1.0)
        self.basis = basis[:, :latents]

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean = (x - 0.5).flatten(1) @ self.basis * self.code
        return mean, self.spread.log().expand(len(x), -1)

    def logits(self, z: Tensor) -> Tensor:
        x = 0.5 + (z * self.gain) @ self.basis.T
        return x.clamp(1e-4, 1 - 1e-4).logit().view(-1, *self.shape)

    def decode(self, z: Tensor) -> Tensor:
        return self.logits(z).sigmoid()

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_variance = self.encode(x)
        return self.logits(mean + (0.5 * log_variance).exp() * noise), mean, log_variance


class Images(NamedTuple):
    """Gaussian images, their spectrum and their basis."""

    x: Tensor
    basis: Tensor
    lam: Spectrum


def small_images(count: int, shape: tuple[int, ...] = (3, 4, 4)) -> Images:
    """Return grey images with a pixel deviation of 0.09, not rounded: ten components, and noise of 0.02 per pixel."""
    size = int(np.prod(shape))
    lam = np.concatenate([0.15 * 0.6 ** np.arange(10), np.full(size - 10, 0.0004)])
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(size, size, generator=generator))[0]
    y = torch.randn(count, size, generator=generator) * torch.from_numpy(lam).float().sqrt()
    return Images((0.5 + y @ basis.T).view(count, *shape), basis, lam)


def entropy_bits(lam: Spectrum) -> float:
    """Return the entropy of the Gaussian in bits per dimension. The unit of a pixel is 1/255."""
    return float(np.log2(2 * np.pi * np.e * lam).mean() / 2 + log(255) / log(2))
