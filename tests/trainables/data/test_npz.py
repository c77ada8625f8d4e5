"""Images in an .npz file."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainables.contract import DataError, DataSpec
from trainables.data import load
from trainables.image_summary import summarise

GREY = np.random.default_rng(0).integers(0, 256, (40, 16, 16), np.uint8)
COLOURED = np.stack([GREY, GREY // 2, 255 - GREY], axis=-1)


def written(folder: Path, **arrays: Any) -> DataSpec:
    np.savez_compressed(folder / "images.npz", **arrays)
    return DataSpec("npz", 16, str(folder / "images.npz"))


def everything(spec: DataSpec, cache: Path) -> torch.Tensor:
    data = load(spec, cache)
    assert (len(data.train), len(data.held_out), len(data.test)) == (33, 3, 4)
    return torch.cat([data.train, data.held_out, data.test])


def test_images_and_labels_are_read_and_a_tenth_is_held_out_for_test(folder: Path, cache: Path) -> None:
    spec = written(folder, images=COLOURED, labels=np.where(GREY[:, 0, 0] > 100, 7, -1))
    data = load(spec, cache)
    assert data.classes == ("-1", "7")
    known = {COLOURED[i].transpose(2, 0, 1).tobytes(): int(GREY[i, 0, 0] > 100) for i in range(40)}
    labels = torch.cat([data.train_labels, data.held_out_labels, data.test_labels]).tolist()
    read = [image.numpy().tobytes() for image in everything(spec, cache)]
    assert [known[image] for image in read] == labels


@pytest.mark.parametrize("shape", [(40, 16, 16), (40, 16, 16, 1)])
def test_grey_images_have_one_channel_or_the_same_three_times(
    folder: Path, cache: Path, shape: tuple[int, ...]
) -> None:
    spec = written(folder, images=GREY.reshape(shape))
    grey = everything(DataSpec("npz", 16, spec.path, channels=1), cache)
    assert grey.shape[1:] == (1, 16, 16)
    assert torch.equal(everything(spec, cache), grey.expand(-1, 3, -1, -1))


def test_colours_become_grey_as_pillow_converts_them(folder: Path, cache: Path) -> None:
    from PIL import Image

    spec = written(folder, images=COLOURED)
    expected = {np.asarray(Image.fromarray(image).convert("L")).tobytes() for image in COLOURED}
    grey = everything(DataSpec("npz", 16, spec.path, channels=1), cache)
    assert {image.numpy().tobytes() for image in grey} == expected


def test_images_of_another_size_are_resized(folder: Path, cache: Path) -> None:
    spec = written(folder, images=np.full((40, 20, 30), 77, np.uint8))
    with pytest.raises(DataError, match=r"images of 30x20 pixels do not fit resolution 16, .*`data.resize"):
        load(spec, cache)
    resized = everything(DataSpec("npz", 16, spec.path, crop="center"), cache)
    assert (resized.shape, resized.unique().tolist()) == ((40, 3, 16, 16), [77])


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"images": np.zeros((40, 16, 16))}, "must be uint8 of shape .*, not float64: scale them to 0 to 255"),
        ({"images": np.zeros((40, 3, 16, 16), np.uint8)}, r"not of shape \(40, 3, 16, 16\)"),
        ({"images": np.zeros((0, 16, 16), np.uint8)}, r"not of shape \(0, 16, 16\)"),
        ({"images": np.array([{}] * 40, dtype=object)}, "must be uint8 of shape .*, not object"),
        ({"pixels": GREY}, r"holds pixels but no images: write it with numpy.savez\(FILE, images=...\)"),
        ({"images": GREY, "labels": np.zeros(39, int)}, r"labels must be whole numbers of shape \(40,\)"),
        ({"images": GREY, "labels": np.array([None] * 40)}, r"labels must be whole numbers .*, not object"),
        ({"images": GREY[:8]}, "holds 8 images: at least 9 are needed"),
    ],
)
def test_other_arrays_are_refused_before_their_pixels_are_read(
    folder: Path, arrays: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(DataError, match=sentence):
        summarise(written(folder, **arrays))


def test_a_damaged_file_is_named(folder: Path) -> None:
    spec = written(folder, images=GREY)
    path = folder / "images.npz"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match=r"images.npz cannot be read as an .npz file \(.*\): write it with numpy.savez"):
        summarise(spec)


def test_a_file_that_would_fill_the_memory_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.image_archive.MOST_BYTES", 5000)
    with pytest.raises(DataError, match="images needs 10,368 bytes of memory, and at most 5,000 are read"):
        summarise(written(folder, images=GREY))


def test_an_array_that_is_longer_than_its_header_says_or_shorter_is_refused(folder: Path, cache: Path) -> None:
    spec = written(folder, images=GREY)
    with zipfile.ZipFile(folder / "images.npz") as archive:
        content = archive.read("images.npy")
    with zipfile.ZipFile(folder / "images.npz", "w") as archive:
        archive.writestr("images.npy", content[:-100])
    with pytest.raises(DataError, match=r"cannot be read as an \.npz file"):
        load(spec, cache)
