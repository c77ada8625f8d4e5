"""Image grids as PNG files."""

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
    if not len(images):
        raise ValueError("a picture needs an image or more")
    scale = scale or max(1, round(CELL / images.shape[-1]))
    cells = images.detach().cpu().float().nan_to_num(0.0).clamp(0, 1)
    cells = cells.repeat_interleave(scale, dim=-1).repeat_interleave(scale, dim=-2)
    grid = make_grid(cells, nrow=columns, padding=2, pad_value=1.0)  # (3, H, W)
    pixels = (grid * 255).round().byte().permute(1, 2, 0).numpy()
    file = BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG")
    return file.getvalue()
