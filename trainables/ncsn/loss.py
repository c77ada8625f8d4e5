"""The training objective of a score network."""

from collections.abc import Callable

import torch
from torch import Tensor

ScoreNet = Callable[[Tensor, Tensor], Tensor]
"""s(x, sigma) for x (B, ...) and sigma (B, 1, ...): a network, or a formula."""


def column(x: Tensor, level: float) -> Tensor:
    """Return one noise level for each of the images x (B, ...), as a score network takes it, (B, 1, ...)."""
    return x.new_full((len(x),) + (1,) * (x.ndim - 1), level)


def dsm_loss(net: ScoreNet, x: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
    """Return the denoising score matching loss weighted by sigma^2 (Song & Ermon 2019, eq. 5 and 6), (B,).

    1/2 || sigma s(x + sigma z, sigma) + z ||^2
    """
    # x, noise: (B, C, H, W), x in [0, 1]; sigma: (B, 1, 1, 1)
    score = net(x + sigma * noise, sigma)
    return 0.5 * (sigma * score + noise).square().flatten(1).sum(1)  # (B,)


def edm_weight(sigma: Tensor, variance: float) -> Tensor:
    """Return the weight of `dsm_loss` at noise level sigma under EDM's weighting, for data of a pixel `variance`.

    EDM weighs |D(x) - x|^2 by (sigma^2 + s_d^2) / (sigma s_d)^2 (Karras et al. 2022, table 1), and the denoiser's error
    is sigma (sigma s + z), so the weight of |sigma s + z|^2 is (sigma^2 + s_d^2) / s_d^2.
    """
    return (sigma**2 + variance) / variance


def denoised(net: ScoreNet, x: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
    """Return x~ + sigma^2 s(x~, sigma) for x~ = x + sigma z: the mean of x given x~ (Tweedie), (B, C, H, W)."""
    noisy = x + sigma * torch.randn(x.shape, generator=generator, device=x.device)
    parts = [
        part + sigma**2 * net(part, part.new_full((len(part), 1, 1, 1), sigma)) for part in torch.split(noisy, 256)
    ]
    return torch.cat(parts)
