"""Every kind of image file is read, or refused with a sentence that names it."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from trainables.contract import DataError, DataSpec
from trainables.data import folder as folder_source
from trainables.data import load
from trainables.image_files import opened
from trainables.image_summary import summarise

IMAGES = 100
LOSSLESS, LOSSY = 1, 40
KINDS: dict[str, tuple[str, str, dict[str, Any], int]] = {
    "photo.jpg": ("RGB", "JPEG", {"quality": 95}, LOSSY),
    "photo.JFIF": ("RGB", "JPEG", {"quality": 95}, LOSSY),
    "photo": ("RGB", "PNG", {}, LOSSLESS),
    "drawing.png": ("RGBA", "PNG", {}, LOSSLESS),
    "scan.tiff": ("RGB", "TIFF", {}, LOSSLESS),
    "print.tif": ("CMYK", "TIFF", {}, LOSSLESS),
    "photo.webp": ("RGB", "WEBP", {"lossless": True}, LOSSLESS),
    "old.bmp": ("RGB", "BMP", {}, LOSSLESS),
    "film.gif": ("RGB", "GIF", {"save_all": True}, LOSSY),
    "raw.ppm": ("RGB", "PPM", {}, LOSSLESS),
}
"""By the name of the file: Pillow's mode and format, its options, and the largest mean error of a pixel."""
PLAIN = DataSpec("folder", 16)


def pictures() -> list[Image.Image]:
    """Return smooth pictures of 24 x 16 pixels, each of another colour."""
    across = np.linspace(0, 255, 24)[None, :, None] * np.ones((16, 1, 3))
    random = np.random.default_rng(0)
    return [Image.fromarray((across * random.random(3)).astype(np.uint8)) for _ in range(IMAGES)]


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_hundred_images_of_a_kind_load_as_the_pictures_they_are(folder: Path, cache: Path, kind: str) -> None:
    mode, form, options, error = KINDS[kind]
    name = Path(kind)
    for number, picture in enumerate(pictures()):
        frames = {"append_images": [Image.new("RGB", picture.size)]} if form == "GIF" else {}
        place = folder / "photos" / f"{name.stem}{number:03}{name.suffix}"
        place.parent.mkdir(exist_ok=True)
        picture.convert(mode).save(place, form, **options, **frames)
    data = load(DataSpec("folder", 16, str(folder / "photos"), crop="center"), cache)
    assert (len(data.train), len(data.held_out), len(data.test)) == (81, 9, 10)
    assert data.classes == ()
    loaded = np.concatenate([data.train, data.held_out, data.test]).astype(float)
    for picture in pictures():
        middle = np.asarray(picture).transpose(2, 0, 1)[:, :, 4:20]
        assert np.abs(loaded - middle).mean((1, 2, 3)).min() < error


def postscript(path: Path) -> None:
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n(x) run\nshowpage\n")


def avif(path: Path) -> None:
    path.write_bytes(b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + bytes(200))


def sixteen_bits(path: Path) -> None:
    Image.fromarray(np.zeros((16, 16), np.uint16)).save(path, "PNG")


def floats(path: Path) -> None:
    Image.fromarray(np.zeros((16, 16), np.float32)).save(path, "TIFF")


def cut_short(path: Path) -> None:
    file = BytesIO()
    Image.effect_noise((64, 64), 50).convert("RGB").save(file, "JPEG")
    path.write_bytes(file.getvalue()[:900])


def bomb(path: Path) -> None:
    path.write_bytes(b"P4 20000 20000\n")


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (postscript, "its content is none of BMP, GIF, JPEG, PNG, PPM, TIFF, WEBP"),
        (avif, "its content is none of BMP, GIF, JPEG, PNG, PPM, TIFF, WEBP"),
        (sixteen_bits, "has pixels of more than 8 bits: convert it"),
        (floats, "has pixels of more than 8 bits: convert it"),
        (cut_short, r"cannot be read as an image \(.*truncated.*\): replace or remove it"),
        (bomb, r"cannot be read as an image \(.*decompression bomb.*\)"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    folder: Path, cache: Path, spoil: Callable[[Path], None], sentence: str
) -> None:
    for number in range(12):
        Image.new("RGB", (16, 16), (number, 0, 0)).save(folder / f"{number}.png")
    spoil(folder / "odd.png")
    with pytest.raises(DataError, match=f"odd.png.*{sentence}"):
        load(DataSpec("folder", 16, str(folder), crop="center"), cache)


def test_no_program_runs_for_a_postscript_file_that_is_named_as_an_image(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: object, **__: object) -> None:
        raise AssertionError("Pillow ran Ghostscript")

    monkeypatch.setattr("subprocess.check_call", run)
    postscript(folder / "odd.png")
    with pytest.raises(DataError, match="none of BMP"), opened(str(folder / "odd.png")):
        pass


def test_pillow_does_not_warn_about_a_large_image(folder: Path) -> None:
    (folder / "large.ppm").write_bytes(b"P6 10000 10000 255\n")
    with opened(str(folder / "large.ppm")) as image:  # a warning is an error here
        assert image.size == (10000, 10000)


def read(path: Path, spec: DataSpec = PLAIN) -> list[Any]:
    """Return the rows of the first channel of an image."""
    return folder_source._read(str(path), spec)[0].tolist()  # type: ignore[no-any-return]


def test_a_picture_is_turned_as_its_metadata_say(folder: Path) -> None:
    lying = Image.new("L", (16, 16))
    lying.paste(255, (0, 0, 16, 4))  # bright at the top
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    lying.save(folder / "turned.png", exif=exif)
    assert read(folder / "turned.png")[8] == [0] * 12 + [255] * 4


def test_transparent_pixels_show_white_and_opaque_ones_stay_as_they_are(folder: Path) -> None:
    picture = Image.new("RGBA", (16, 16), (10, 20, 30, 255))
    picture.paste((0, 0, 0, 0), (0, 0, 8, 16))
    picture.save(folder / "clear.png")
    assert read(folder / "clear.png")[0] == [255] * 8 + [10] * 8


def test_an_image_is_scaled_with_antialiasing(folder: Path) -> None:
    board = np.indices((64, 64)).sum(0) % 2 * 255
    Image.fromarray(board.astype(np.uint8)).save(folder / "board.png")
    rows = read(folder / "board.png", DataSpec("folder", 16, crop="center"))
    assert {value for row in rows for value in row} <= {127, 128}  # a scaling without it would be black or white


def test_an_oblong_image_keeps_its_middle(folder: Path) -> None:
    wide = Image.new("RGB", (60, 20), "black")
    wide.paste("white", (20, 0, 40, 20))
    wide.save(folder / "wide.png")
    rows = read(folder / "wide.png", DataSpec("folder", 16, crop="center"))
    assert min(row[4] for row in rows) == 255


def test_sizes_that_do_not_fit_are_counted_with_the_key_that_mends_it(folder: Path) -> None:
    for number in range(12):
        Image.new("L", (28, 28) if number else (48, 32)).save(folder / f"{number:02}.png")
    with pytest.raises(DataError, match=r"28x28 \(11\), 48x32 \(1\) pixels do not fit .*`data.resize: {side: 16, crop"):
        summarise(DataSpec("folder", 16, str(folder)))
    assert summarise(DataSpec("folder", 16, str(folder), crop="center"))


def test_a_size_that_the_networks_take_is_suggested(folder: Path) -> None:
    for number in range(12):
        Image.new("L", (48, 48)).save(folder / f"{number:02}.png")
    with pytest.raises(DataError, match=r"or set `data\.resolution: 48`"):
        summarise(DataSpec("folder", 32, str(folder)))
