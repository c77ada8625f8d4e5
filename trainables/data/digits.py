"""The 1,797 handwritten digits that scikit-learn ships (8x8 pixels, 17 greys): real images without a download."""

from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from trainables.contract import DataSpec
from trainables.data.images import Decoded, Source, hold_out_test, with_channels


def source(spec: DataSpec, _cache: Path) -> Source:
    """Return the digits, enlarged to `spec.resolution`. A fixed tenth of them is held out as test images."""
    return Source("digits 1", partial(_decode, spec))


def _decode(spec: DataSpec) -> Decoded:
    from sklearn.datasets import load_digits

    digits, size = load_digits(), (spec.resolution, spec.resolution)
    greys = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # (N, 8, 8)
    images = np.stack([np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC)) for grey in greys])
    arrays = hold_out_test(with_channels(images[:, None], spec.channels), digits.target.astype(np.int64))
    return Decoded(arrays, tuple(map(str, digits.target_names)))
