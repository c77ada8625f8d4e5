"""The objective of a Beta-VAE: reconstruction + beta KL, both summed over dimensions."""

from torch import Tensor
from torch.nn import functional as F


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


def warmed_up(beta: float, kimg: float, warmup_kimg: float) -> float:
    """Return beta after `kimg`. It rises linearly from 0 over the first `warmup_kimg`."""
    return beta if kimg >= warmup_kimg else beta * kimg / warmup_kimg
