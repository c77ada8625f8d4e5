"""Which files of a folder are its images, and of which class."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from trainables.contract import DataError, DataSpec
from trainables.image_files import list_images
from trainables.image_summary import LOOKED_AT, summarise


def picture(path: Path, colour: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 16), (colour, 0, 0)).save(path, "PNG")


def album(root: Path, *folders: str, images: int = 12) -> Path:
    for place in folders:
        for number in range(images):
            picture(root / place / f"{number:02}.png", number)
    return root


def names(root: Path) -> dict[str, list[int]]:
    """Return the label of the first file, and the number of files, by folder."""
    found = list_images(str(root))
    return {name: [file.label for file in found.train if f"/{name}/" in file.path] for name in found.classes}


def test_a_folder_of_images_has_no_classes(folder: Path) -> None:
    found = list_images(str(album(folder, ".")))
    assert (found.classes, len(found.train), found.test, found.notes) == ((), 12, None, [])


def test_each_folder_is_a_class_however_deep_its_images_lie(folder: Path) -> None:
    assert names(album(folder, "dog/2024/may", "cat")) == {"cat": [0] * 12, "dog": [1] * 12}


def test_train_and_test_are_the_two_parts_with_and_without_classes(folder: Path) -> None:
    plain = list_images(str(album(folder / "plain", "train", "test")))
    assert (plain.classes, len(plain.train), len(plain.test or [])) == ((), 12, 12)
    classes = list_images(str(album(folder / "classes", "train/a", "train/b", "test/a", "test/b")))
    assert (classes.classes, [file.label for file in classes.test or []]) == (("a", "b"), [0] * 12 + [1] * 12)


def test_test_images_are_optional(folder: Path) -> None:
    assert list_images(str(album(folder, "train/a", "train/b"))).test is None


def test_what_is_left_out_is_counted_and_named(folder: Path) -> None:
    root = album(folder, "train/a", "train/b", "val/a")
    for name in ("README", "train/list.csv", "train/a/x.avif", "train/a/y.heic"):
        (root / name).write_text("no image")
    picture(root / "train" / "beside.png")
    picture(root / "train" / ".hidden.png")
    assert list_images(str(root)).notes == [
        f"left out: 1 image in {root / 'train'} beside its folders: beside.png",
        "left out: 1 folder beside train and test: val",
        "left out: 3 files of other types: train/list.csv, train/a/x.avif, train/a/y.heic",
    ]


def test_images_both_in_a_folder_and_below_it_are_all_used_and_have_no_classes(folder: Path) -> None:
    found = list_images(str(album(folder, ".", "2024")))
    assert (found.classes, len(found.train)) == ((), 24)
    assert "images lie both in" in found.notes[0]


def test_a_file_without_an_extension_is_an_image_by_its_first_bytes(folder: Path) -> None:
    picture(folder / "0a1b2c")
    (folder / "LICENSE").write_text("BSD: P6 is no image here")
    os.mkfifo(folder / "pipe")  # opening it would block for ever
    found = list_images(str(folder))
    assert [Path(file.path).name for file in found.train] == ["0a1b2c"]
    assert found.notes == ["left out: 2 files of other types: LICENSE, pipe"]


@pytest.mark.parametrize("missing", ["nowhere", "a file"])
def test_what_is_no_folder_is_named(folder: Path, missing: str) -> None:
    (folder / "a file").touch()
    with pytest.raises(DataError, match=f"{missing} is not a folder"):
        list_images(str(folder / missing))


def test_a_summary_counts_images_classes_and_sizes(folder: Path) -> None:
    found = summarise(DataSpec("folder", 16, str(album(folder, "a", "b"))))
    assert found
    assert found.as_json() == {"count": 24, "test": 0, "classes": ["a", "b"], "sizes": {"16x16": 24}, "notes": []}
    assert found.lines() == ["24 images in 2 classes (a, b); a tenth of them is held out for test", "sizes: 16x16"]


def test_a_summary_says_once_that_images_without_classes_have_no_cnn_features(folder: Path) -> None:
    found = summarise(DataSpec("folder", 16, str(album(folder, "."))))
    assert found
    assert found.lines()[0] == "12 images without classes; a tenth of them is held out for test"
    assert found.lines()[2:] == ["the cnn features need two classes or more, so kid uses randconv"]


def test_a_summary_opens_few_of_many_files(folder: Path) -> None:
    picture(folder / "a" / "first.png")
    for number in range(LOOKED_AT + 1):
        os.link(folder / "a" / "first.png", folder / "a" / f"{number}.png")
    found = summarise(DataSpec("folder", 16, str(folder)))
    assert found
    assert (found.count, found.sizes) == (LOOKED_AT + 2, {"16x16": LOOKED_AT // 2 + 1})
    assert "of 1,001 opened" in found.lines()[1]


def test_too_few_images_are_refused(folder: Path) -> None:
    with pytest.raises(DataError, match="holds 8 images: at least 9 are needed"):
        summarise(DataSpec("folder", 16, str(album(folder, ".", images=8))))
