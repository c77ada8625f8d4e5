"""A folder of images, with or without classes, and with or without test images of its own."""

from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from trainables.contract import DataError, DataSpec
from trainables.data.images import Array, Decoded, Pixels, Source, hold_out, hold_out_test, shuffled
from trainables.image_files import File, Listing, list_images, opened
from trainables.image_summary import check_count, check_sizes, fits, path_of
from trainables.progress import report

REPORTED_IMAGES = 1000
MODES = {1: "L", 3: "RGB"}
BACKGROUND = "white"
"""Colour behind transparent pixels."""
DECODED = 2
"""Raise this number when the same files would give other pixels."""


def source(spec: DataSpec, _cache: Path) -> Source:
    """Return the images under `spec.path`. Skip names that start with a dot, and files of other types."""
    listing = list_images(path_of(spec))
    check_count(listing.root, len(listing.train), has_test=listing.test is not None)
    version = repr((DECODED, str(listing.root), listing.train, listing.test))
    return Source(sha256(version.encode()).hexdigest(), partial(_decode, listing, spec))


def _decode(listing: Listing, spec: DataSpec) -> Decoded:
    check_sizes(listing, spec)
    if listing.test is None:
        return Decoded(hold_out_test(*_read_all(listing.train, spec)), listing.classes)
    test = shuffled("test", *_read_all(listing.test, spec))
    return Decoded({**hold_out(*_read_all(listing.train, spec)), **test}, listing.classes)


def _read_all(files: list[File], spec: DataSpec) -> tuple[Pixels, Array]:
    images = np.empty((len(files), spec.channels, spec.resolution, spec.resolution), np.uint8)
    for index, file in enumerate(files):  # threads do not help: decoding 32x32 pixels takes 0.1 ms
        if index % REPORTED_IMAGES == 0:
            report(f"decoding images: {index:,} of {len(files):,}")
        images[index] = _read(file.path, spec)
    return images, np.array([file.label for file in files], np.int64)


def _read(path: str, spec: DataSpec) -> Pixels:
    """Return pixels (C, H, W) of an image: its first frame, turned as its metadata say."""
    with opened(path) as image:
        if not fits(image.size, spec):  # it was not among those that were opened to look at their sizes
            raise DataError(
                f"{path} has {image.width}x{image.height} pixels, and resolution {spec.resolution} takes "
                f"{spec.resolution}x{spec.resolution} or a whole multiple: "
                f"add `data.resize: {{side: {spec.resolution}, crop: center}}` to scale and crop every image"
            )
        pixels = np.asarray(fitted(_opaque(_upright(image), MODES[spec.channels]), spec))
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def fitted(image: Image.Image, spec: DataSpec) -> Image.Image:
    """Return the image at `spec.resolution`: scaled with antialiasing and cropped, or averaged down by a factor."""
    side = spec.resolution
    if spec.crop:
        return ImageOps.fit(image, (side, side), Image.Resampling.BICUBIC)
    return image.reduce(image.width // side) if image.width > side else image


def _upright(image: Image.Image) -> Image.Image:
    """Return the image turned by its EXIF orientation. Damaged metadata do not spoil a picture."""
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        return image


def _opaque(image: Image.Image, mode: str) -> Image.Image:
    """Return the image in another mode. What is transparent shows BACKGROUND."""
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.new("RGBA", layer.size, BACKGROUND)
        image.alpha_composite(layer)
        image = image.convert("RGB")
    return image.convert(mode)
