"""A small data folder of random pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from trainables.contract import DataSpec


def album(root: Path, *, train: int = 20, test: int = 4, side: int = 16) -> Path:
    """Write a data folder of random pictures with the classes cat and dog and `train` and `test` images per class."""
    random = np.random.default_rng(0)
    for split, count in (("train", train), ("test", test)):
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(0, 256, (side, side, 3), np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{i:02}.png")
    return root


def spec(root: Path, resolution: int = 16) -> DataSpec:
    return DataSpec("folder", resolution, str(root))
