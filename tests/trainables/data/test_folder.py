from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from shutil import rmtree

import numpy as np
import pytest
import torch
from PIL import Image

from tests.trainables.data.album import album, spec
from trainables.contract import DataError, DataSpec
from trainables.data import load


def test_folder_holds_a_tenth_of_train_out_and_keeps_every_image(folder: Path, cache: Path) -> None:
    data = load(spec(album(folder / "pets")), cache)
    assert data.train.shape == (36, 3, 16, 16)
    assert data.held_out.shape == (4, 3, 16, 16)
    assert data.test.shape == (8, 3, 16, 16)
    assert data.train.dtype == torch.uint8
    assert data.train_labels.dtype == torch.int64
    assert data.classes == ("cat", "dog")
    written = {np.asarray(Image.open(path)).tobytes(): path.parent.name for path in folder.glob("pets/train/*/*")}
    kept = zip([*data.train, *data.held_out], [*data.train_labels, *data.held_out_labels], strict=True)
    assert {image.permute(1, 2, 0).numpy().tobytes(): data.classes[label] for image, label in kept} == written


def test_mean_and_variance_are_those_of_all_training_pixels(folder: Path, cache: Path) -> None:
    data = load(spec(album(folder / "pets")), cache)
    pixels = data.train.double() / 255
    assert data.mean == pytest.approx(pixels.mean().item(), abs=1e-12)
    assert data.variance == pytest.approx(pixels.var(correction=0).item(), abs=1e-12)


def test_fingerprint_follows_the_pixels_and_the_resolution_but_not_the_place(folder: Path, cache: Path) -> None:
    first = load(spec(album(folder / "a", side=32), 32), cache)
    assert load(spec(album(folder / "b", side=32), 32), cache) == first
    assert load(spec(folder / "a", 16), cache) != first
    assert load(spec(album(folder / "c", side=32, train=21), 32), cache) != first


def test_an_existing_folder_keeps_its_fingerprint_so_that_its_experiments_resume(folder: Path, cache: Path) -> None:
    root = album(folder / "pets", side=32)
    (root / "train" / "beside.png").write_bytes((root / "train" / "cat" / "00.png").read_bytes())
    # the fingerprints that the commit before `resize` computed
    assert load(spec(root, 32), cache).fingerprint.startswith("daae38f8fd4612db")
    assert load(spec(root, 16), cache).fingerprint.startswith("812b0c069c659cc9")


def test_images_of_twice_the_side_are_box_averaged(folder: Path, cache: Path) -> None:
    root = album(folder / "pets", side=32)
    large, small = load(spec(root, 32), cache), load(spec(root, 16), cache)
    averaged = large.train.float().reshape(-1, 3, 16, 2, 16, 2).mean((3, 5))
    assert (small.train.float() - averaged).abs().max() <= 0.5


def test_other_files_and_hidden_ones_are_passed_over(folder: Path, cache: Path) -> None:
    root = album(folder / "pets")
    (root / "train" / "cat" / "notes.txt").write_text("no image")
    (root / "train" / "cat" / "._01.png").write_bytes(b"what macOS leaves behind")
    (root / "train" / ".thumbnails").mkdir()
    assert len(load(spec(root), cache).train) == 36


def no_train(root: Path) -> None:
    rmtree(root / "train")


def no_class(root: Path) -> None:
    rmtree(root / "train" / "cat")
    rmtree(root / "train" / "dog")


def empty_class(root: Path) -> None:
    (root / "train" / "fox").mkdir()
    (root / "test" / "fox").mkdir()


def class_in_train_alone(root: Path) -> None:
    rmtree(root / "test" / "dog")


def too_few(root: Path) -> None:
    for path in [*root.glob("train/*/0[1-9].png"), *root.glob("train/*/1*.png")]:
        path.unlink()


def no_picture(root: Path) -> None:
    (root / "train" / "cat" / "03.png").write_text("not a picture")


def truncated(root: Path) -> None:
    path = root / "train" / "cat" / "03.png"
    path.write_bytes(path.read_bytes()[:300])


def wrong_size(root: Path) -> None:
    Image.new("RGB", (24, 24)).save(root / "train" / "dog" / "03.png")


def not_square(root: Path) -> None:
    Image.new("RGB", (32, 16)).save(root / "test" / "dog" / "03.png")


def sixteen_bits(root: Path) -> None:
    Image.fromarray(np.zeros((16, 16), np.uint16)).save(root / "train" / "dog" / "03.png")


def dangling_link(root: Path) -> None:
    (root / "train" / "dog" / "out.png").symlink_to(root / "nowhere.png")


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (no_train, r"pets/train is not a folder, but .*/pets/test is: move the training images into train/"),
        (no_class, r"pets/train holds no image: add some \(BMP, .*\) or remove the folder"),
        (empty_class, "pets/train/fox holds no image: add some .* or remove the folder"),
        (class_in_train_alone, "must hold the same classes, but only one of them has dog"),
        (too_few, "holds 2 images: at least 6 are needed"),
        (no_picture, r"cat/03.png cannot be read as an image \(its content is none of BMP, .*\): convert or remove it"),
        (truncated, r"cat/03.png cannot be read as an image \(.*\): replace or remove it"),
        (
            wrong_size,
            r"images of 24x24 \(1\) pixels do not fit resolution 16, .*: add `data.resize: .*train/dog/03.png",
        ),
        (not_square, r"images of 32x16 \(1\) pixels do not fit .*test/dog/03.png"),
        (sixteen_bits, "dog/03.png has pixels of more than 8 bits: convert it"),
        (dangling_link, "dog/out.png cannot be read: No such file"),
    ],
)
def test_spoilt_folder_is_refused_in_a_sentence(
    folder: Path, cache: Path, spoil: Callable[[Path], None], sentence: str
) -> None:
    root = album(folder / "pets")
    spoil(root)
    with pytest.raises(DataError, match=sentence):
        load(spec(root), cache)
    assert not list(cache.glob("*/about.json"))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (DataSpec("imagenet"), "no data set 'imagenet': choose one of cifar10, digits, folder, npz, shapes"),
        (DataSpec("folder"), "needs a path: `--data folder:DIR`"),
        (DataSpec("folder", 8, "/"), "resolution must be 16 pixels or more, not 8"),
        (DataSpec("shapes", 24), "16 or 32, not 24"),
        (DataSpec("cifar10", 24), "resolution must divide 32, not 24"),
    ],
)
def test_wrong_spec_is_refused(cache: Path, wrong: DataSpec, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        load(wrong, cache)


def test_link_to_an_image_inside_the_folder_is_followed(folder: Path, cache: Path) -> None:
    root = album(folder / "pets")
    (root / "train" / "cat" / "again.png").symlink_to(root / "train" / "cat" / "00.png")
    assert len(load(spec(root), cache).train) == 37
