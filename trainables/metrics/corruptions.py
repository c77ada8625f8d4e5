"""Corrupted real images: what a value of kid means, seen on images whose fault one knows."""

import torch
from torch import Tensor
from torch.nn import functional as F


def blurred(images: Tensor) -> Tensor:
    """Return images uint8 (N, C, H, W) with each pixel replaced by the mean of its 3x3 neighbourhood."""
    padded = F.pad(images.float(), (1, 1, 1, 1), mode="replicate")
    return F.avg_pool2d(padded, 3, stride=1).round().byte()


def halves_joined(images: Tensor) -> Tensor:
    """Return images uint8 (N, C, H, W) whose right half is that of the next image."""
    middle = images.shape[-1] // 2
    return torch.cat([images[..., :middle], images.roll(-1, 0)[..., middle:]], dim=-1)


def phases_randomised(images: Tensor) -> Tensor:
    """Return images uint8 (N, C, H, W) with the amplitude spectrum of `images` and random phases: no picture is left.

    The phases are those of white noise, the same for all channels of an image, and fixed by a seed.
    """
    noise = torch.randn(len(images), 1, *images.shape[-2:], generator=torch.Generator().manual_seed(0))
    pixels = images.float() / 255
    mean = pixels.mean((-2, -1), keepdim=True)
    phase = torch.fft.rfft2(noise)
    spectrum = torch.fft.rfft2(pixels - mean).abs() * phase / phase.abs().clamp_min(1e-12)
    drawn: Tensor = torch.fft.irfft2(spectrum, s=images.shape[-2:]) + mean
    pixels = (drawn.clamp(0, 1) * 255).round()
    return pixels.byte()


CORRUPTIONS = {"blurred": blurred, "halves_joined": halves_joined, "phases_randomised": phases_randomised}
"""Each corruption by the name under which its kid is recorded."""
