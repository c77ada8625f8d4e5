"""The training objective of a score network."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

ScoreNet = Callable[[Tensor, Tensor], Tensor]
"""s(x, sigma) for x (B, ...) and sigma (B, 1, ...): a network, or a formula."""


def dsm_loss(net: ScoreNet, x: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
    """Denoising score matching weighted by sigma^2 (Song & Ermon 2019, eq. 5 and 6), one value an image.

    1/2 || sigma s(x + sigma z, sigma) + z ||^2
    """
    # x, noise: (B, C, H, W), x in [0, 1]; sigma: (B, 1, 1, 1)
    score = net(x + sigma * noise, sigma)
    return 0.5 * (sigma * score + noise).square().flatten(1).sum(1)  # (B,)
