"""A residual U-Net with attention, after DDPM++ (Song et al. 2021) and EDM (Karras et al. 2022)."""

from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.ncsn.unet import FREQUENCIES, NoiseEmbedding, fitting_groups

MULTIPLES = (1, 2, 2)
"""Channels of each resolution, in units of the width. Each resolution has half the side of the one before."""
BLOCKS = 2
"""Residual blocks at each resolution on the way down; on the way up there is one more."""
ATTENTION_SIDE = 16
"""Largest side at which blocks have self-attention."""
HEAD_CHANNELS = 64


class ResUNet(nn.Module):
    """F(x, sigma) on images (B, C, side, side) whose side is a multiple of 4. At first F is 0."""

    def __init__(
        self,
        width: int,
        *,
        side: int,
        groups: int = 32,
        conditioning: str = "log_sigma",
        channels: int = 3,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        embedded = 4 * width
        self.embedding = nn.Sequential(
            NoiseEmbedding(conditioning), nn.Linear(2 * FREQUENCIES, embedded), nn.SiLU(), nn.Linear(embedded, embedded)
        )
        self.conv_in = nn.Conv2d(channels, width, 3, padding=1)
        sides = [side >> level for level in range(len(MULTIPLES))]
        widths = [width * multiple for multiple in MULTIPLES]

        def block(inputs: int, outputs: int, level: int) -> Block:
            attends = sides[level] <= ATTENTION_SIDE
            return Block(inputs, outputs, embedded, groups=groups, dropout=dropout, attends=attends)

        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        skips, current = [width], width
        for level, here in enumerate(widths):
            if level:
                self.down.append(nn.Conv2d(current, current, 3, stride=2, padding=1))
                skips.append(current)
            for _ in range(BLOCKS):
                self.down.append(block(current, here, level))
                skips.append(here)
                current = here
        lowest = len(widths) - 1
        self.middle = nn.ModuleList([block(current, current, lowest), block(current, current, lowest)])
        for level, here in reversed([*enumerate(widths)]):
            for _ in range(BLOCKS + 1):
                self.up.append(block(current + skips.pop(), here, level))
                current = here
            if level:
                self.up.append(Upsampled(current))
        self.norm_out = nn.GroupNorm(fitting_groups(current, groups), current)
        self.conv_out = zeroed(nn.Conv2d(current, channels, 3, padding=1))

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        noise = F.silu(self.embedding(sigma))  # (B, 4 width)
        x = self.conv_in(x)
        skips = [x]
        for layer in self.down:
            x = layer(x, noise) if isinstance(layer, Block) else layer(x)
            skips.append(x)
        for layer in self.middle:
            x = layer(x, noise)
        for layer in self.up:
            x = layer(torch.cat([x, skips.pop()], 1), noise) if isinstance(layer, Block) else layer(x)
        out: Tensor = self.conv_out(F.silu(self.norm_out(x)))
        return out  # (B, C, side, side)


class Block(nn.Module):
    """Two convolutions with a residual connection. The noise level scales and shifts the second GroupNorm."""

    def __init__(self, inputs: int, outputs: int, embedded: int, *, groups: int, dropout: float, attends: bool) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(fitting_groups(inputs, groups), inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.affine = nn.Linear(embedded, 2 * outputs)
        self.norm2 = nn.GroupNorm(fitting_groups(outputs, groups), outputs)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = zeroed(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.attention = Attention(outputs, groups) if attends else nn.Identity()

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        scale, shift = self.affine(noise)[:, :, None, None].chunk(2, 1)  # (B, outputs, 1, 1) each
        hidden = self.conv1(F.silu(self.norm1(x)))
        hidden = F.silu(self.norm2(hidden) * (1 + scale) + shift)
        hidden = self.conv2(self.dropout(hidden))
        out: Tensor = self.attention((self.skip(x) + hidden) / sqrt(2))
        return out


class Attention(nn.Module):
    """Self-attention between the pixels, with a residual connection."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.heads = max(1, channels // HEAD_CHANNELS) if channels % HEAD_CHANNELS == 0 else 1
        self.norm = nn.GroupNorm(fitting_groups(channels, groups), channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = zeroed(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        qkv = self.qkv(self.norm(x)).reshape(batch, 3, self.heads, channels // self.heads, height * width)
        q, k, v = qkv.transpose(-1, -2).unbind(1)  # (B, heads, pixels, channels / heads) each
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(-1, -2).reshape(x.shape)
        out: Tensor = (x + self.out(mixed)) / sqrt(2)
        return out


class Upsampled(nn.Module):
    """Twice the side by nearest neighbours, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.interpolate(x, scale_factor=2))
        return out


def zeroed(conv: nn.Conv2d) -> nn.Conv2d:
    """Return the convolution with weights and biases of 0."""
    nn.init.zeros_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv
