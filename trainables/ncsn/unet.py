"""The U-Net of the reference: strided convolutions down, transposed ones up, and skip connections by concatenation."""

from functools import partial
from math import pi

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

FREQUENCIES = 64
SCALES = {"sigma": 30.0, "log_sigma": 1.0}
"""Standard deviation of the Fourier frequencies. That of `sigma` is the reference's; that of `log_sigma` was tuned."""


class UNet(nn.Module):
    """F(x, sigma) on images whose sides are multiples of 8."""

    def __init__(
        self,
        width: int,
        *,
        groups: int = 32,
        conditioning: str = "log_sigma",
        channels: int = 3,
        network: int = 2,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        w, stage = width, partial(STAGES[network], groups=groups, dropout=dropout)
        self.embedding = NoiseEmbedding(conditioning)
        self.conv_in = nn.Conv2d(channels, w, 3, padding=1)
        self.down1 = stage(nn.Conv2d(w, w, 3, stride=2, padding=1))
        self.down2 = stage(nn.Conv2d(w, 2 * w, 3, stride=2, padding=1))
        self.down3 = stage(nn.Conv2d(2 * w, 2 * w, 3, stride=2, padding=1))
        self.up3 = stage(nn.ConvTranspose2d(2 * w, 2 * w, 4, stride=2, padding=1))
        self.up2 = stage(nn.ConvTranspose2d(4 * w, w, 4, stride=2, padding=1))
        self.up1 = stage(nn.ConvTranspose2d(2 * w, w, 4, stride=2, padding=1))
        self.conv_out = nn.Conv2d(2 * w, channels, 3, padding=1)

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        noise = self.embedding(sigma)  # (B, 128)
        full = self.conv_in(x)  # (B, w, H, W)
        half = self.down1(full, noise)  # (B, w, H/2, W/2)
        quarter = self.down2(half, noise)  # (B, 2w, H/4, W/4)
        x = self.up3(self.down3(quarter, noise), noise)  # (B, 2w, H/4, W/4)
        x = self.up2(torch.cat([x, quarter], 1), noise)  # (B, w, H/2, W/2)
        x = self.up1(torch.cat([x, half], 1), noise)  # (B, w, H, W)
        out: Tensor = self.conv_out(torch.cat([x, full], 1))
        return out  # (B, C, H, W)


class Stage(nn.Module):
    """Convolution, GroupNorm, a shift per channel from the noise level, SiLU and dropout."""

    LEAST_CHANNELS = 1
    """Channels that a group of the GroupNorm has at least."""

    def __init__(self, conv: nn.Conv2d | nn.ConvTranspose2d, *, groups: int, dropout: float) -> None:
        super().__init__()
        channels = conv.out_channels
        self.conv = conv
        self.shift = nn.Linear(2 * FREQUENCIES, channels)
        self.norm = self._norm(channels, groups)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        hidden = F.silu(self.norm(self.conv(x)) + self.shift(F.silu(noise))[:, :, None, None])
        out: Tensor = self.dropout(hidden)
        return out

    def _norm(self, channels: int, groups: int) -> nn.Module:
        return nn.GroupNorm(fitting_groups(channels, groups, least_channels=self.LEAST_CHANNELS), channels)


class PlainStage(Stage):
    """The stage of the reference before it had normalisation."""

    @override
    def _norm(self, channels: int, groups: int) -> nn.Module:
        return nn.Identity()


class ShiftedFirstStage(Stage):
    """The stage of version 0.1: the shift comes before the GroupNorm, which removes much of it.

    A group of one channel would subtract the shift that carries the noise level.
    """

    LEAST_CHANNELS = 4

    @override
    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        out: Tensor = self.dropout(F.silu(self.norm(self.conv(x) + self.shift(noise)[:, :, None, None])))
        return out


STAGES = {0: PlainStage, 1: ShiftedFirstStage, 2: Stage}
"""The stage of each value of the parameter `network`."""


class NoiseEmbedding(nn.Module):
    """Random Fourier features of the noise level: sin and cos of 2 pi f t with t = sigma or ln(sigma) / 4."""

    def __init__(self, conditioning: str) -> None:
        super().__init__()
        self.logarithmic = conditioning == "log_sigma"
        self.frequencies = nn.Parameter(torch.randn(FREQUENCIES) * SCALES[conditioning], requires_grad=False)

    def forward(self, sigma: Tensor) -> Tensor:
        level = sigma.flatten().log() / 4 if self.logarithmic else sigma.flatten()
        angles = 2 * pi * level[:, None] * self.frequencies
        return torch.cat([angles.sin(), angles.cos()], 1)  # (B, 128)


def fitting_groups(channels: int, groups: int, *, least_channels: int = 1) -> int:
    """Return the largest divisor of `channels`, at most `groups`, with at least `least_channels` per group."""
    most = max(1, min(groups, channels // least_channels))
    return max(count for count in range(1, most + 1) if channels % count == 0)
