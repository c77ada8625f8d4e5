"""Images and labels in an .npz file."""

from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image

from trainables.contract import DataError, DataSpec
from trainables.data.folder import fitted
from trainables.data.images import Decoded, Source, hold_out_test, with_channels
from trainables.image_archive import Archive, describe, read_images, read_labels
from trainables.image_summary import path_of, summarise


def source(spec: DataSpec, _cache: Path) -> Source:
    """Return the images in the file `spec.path`. A fixed tenth of them is held out as test images."""
    archive = describe(path_of(spec))
    summarise(spec)
    status = archive.path.stat()
    version = repr((1, str(archive.path), status.st_size, status.st_mtime_ns))
    return Source(sha256(version.encode()).hexdigest(), partial(_decode, archive, spec))


def _decode(archive: Archive, spec: DataSpec) -> Decoded:
    pixels, labels = read_images(archive.path), read_labels(archive.path, archive.count)
    if len(pixels) != archive.count:
        raise DataError(f"{archive.path} has changed while it was read: try again")
    images = with_channels(pixels.transpose(0, 3, 1, 2), spec.channels)
    if images.shape[2:] != (spec.resolution, spec.resolution):
        images = np.stack([[np.asarray(fitted(Image.fromarray(plane), spec)) for plane in planes] for planes in images])
    numbers = np.zeros(len(images), np.int64) if labels is None else np.unique(labels, return_inverse=True)[1]
    return Decoded(hold_out_test(images, numbers.astype(np.int64)), archive.classes)
