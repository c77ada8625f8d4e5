"""The objective of a Beta-VAE: reconstruction + beta KL, both summed over dimensions."""

from math import log

import torch
from torch import Tensor
from torch.nn import functional as F

SMALLEST_BETA = 1e-6
"""Least beta for which importance weights are computed. A warm-up starts from 0."""


def reconstruction(logits: Tensor, x: Tensor, likelihood: str) -> Tensor:
    """Return the summed squared error (`gaussian`, of variance 1/2) or the cross entropy (`bernoulli`), (B,)."""
    # logits, x: (B, C, H, W), x in [0, 1]
    if likelihood == "bernoulli":
        error = F.binary_cross_entropy_with_logits(logits, x, reduction="none")
    else:
        error = (logits.sigmoid() - x).square()
    return error.flatten(1).sum(1)


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return KL(N(mean, variance) || N(0, 1)) of each latent dimension, (B, latent_dim), in nats.

    1/2 (mean^2 + variance - 1 - ln variance)
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


def log_ratio(noise: Tensor, z: Tensor, log_variance: Tensor) -> Tensor:
    """Return ln q(z | x) - ln p(z) for z = mean + sd noise, (k, B). Its mean over the noise is the KL divergence."""
    # noise, z: (k, B, latent_dim); log_variance: (B, latent_dim)
    return 0.5 * (z.square() - noise.square() - log_variance).sum(-1)


def importance_weighted(recon: Tensor, ratio: Tensor, beta: float) -> Tensor:
    """Return IWAE's bound from k samples in the units of the Beta-VAE's loss, (B,) (Burda et al. 2016, eq. 8).

    A weight of beta on the KL term is a decoder variance of beta / 2, so the importance weights are
    exp(-recon / beta - ratio), and the loss is -beta ln of their mean. With one sample it is recon + beta ratio.
    """
    # recon, ratio: (k, B)
    scale = max(beta, SMALLEST_BETA)
    return -scale * (torch.logsumexp(-recon / scale - ratio, 0) - log(len(recon)))


def warmed_up(beta: float, kimg: float, warmup_kimg: float) -> float:
    """Return beta after `kimg`. It rises linearly from 0 over the first `warmup_kimg`."""
    return beta if kimg >= warmup_kimg else beta * kimg / warmup_kimg
