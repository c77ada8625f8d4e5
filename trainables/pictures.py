"""Image grids as PNG files, and as frames of a GIF."""

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

CELL = 64
"""Approximate side in pixels to which an image is enlarged."""


def png(images: Tensor, columns: int, scale: int | None = None) -> bytes:
    """Return a PNG of images (N, C, H, W) in [0, 1] with `columns` per row, each pixel `scale` times as wide and high.

    Without `scale` an image is about 64 pixels wide. Values outside [0, 1] are clamped, and NaN is black.
    """
    file = BytesIO()
    _grid(images, columns, scale).save(file, "PNG")
    return file.getvalue()


def gif(frames: Sequence[Tensor], columns: int, milliseconds: int = 80, last: int = 2000) -> bytes:
    """Return a GIF that repeats: one grid for each of `frames`, for some milliseconds each, the last one for longer."""
    first, *others = [_grid(images, columns) for images in frames]
    durations = [milliseconds] * len(others) + [last]
    file = BytesIO()
    first.save(file, "GIF", save_all=True, append_images=others, duration=durations, loop=0)
    return file.getvalue()


def _grid(images: Tensor, columns: int, scale: int | None = None) -> Image.Image:
    if not len(images):
        raise ValueError("a picture needs an image or more")
    scale = scale or max(1, round(CELL / images.shape[-1]))
    cells = images.detach().cpu().float().nan_to_num(0.0).clamp(0, 1)
    cells = cells.repeat_interleave(scale, dim=-1).repeat_interleave(scale, dim=-2)
    grid = make_grid(cells, nrow=columns, padding=2, pad_value=1.0)  # (3, H, W)
    pixels = (grid * 255).round().byte().permute(1, 2, 0).numpy()
    return Image.fromarray(np.ascontiguousarray(pixels))
