"""The image files of a folder: which there are, of which class, and how one is opened. Needs no torch."""

from __future__ import annotations

import os
import re
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from trainables.contract import DataError

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Pillow's decoders that may read a file. Others, such as PostScript, run programs or are seldom tested."""
EXTENSIONS = (
    ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip
SIGNATURE = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....WEBP|II\*\0|MM\0\*|BM....\0\0\0\0|P[1-6]\s", re.DOTALL
)
"""First bytes of an image, by which a file without an extension is recognised."""
UNPACKED = "__MACOSX"
"""Folder that macOS adds to archives. It holds no images."""
NAMED = 3


class File(NamedTuple):
    path: str
    label: int
    size: int
    changed_ns: int


@dataclass(frozen=True)
class Listing:
    """The image files of a data folder."""

    root: Path
    classes: tuple[str, ...]
    """Names of the classes; empty if the images have none."""
    train: list[File]
    test: list[File] | None
    """None if the folder has no test images of its own."""
    notes: list[str] = field(default_factory=list)
    """Sentences about what is left out."""


def list_images(path: str) -> Listing:
    """Return the images under `path`: train/ and test/, or one folder; with a folder for each class, or without.

    Skip names that start with a dot. Raise DataError.
    """
    root = Path(os.path.realpath(Path(path).expanduser()))  # resolve() would raise for a link to itself
    if not root.is_dir():
        raise DataError(f"{root} is not a folder")
    try:
        return _list(root)
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}") from error


def _list(root: Path) -> Listing:
    split, test_folder, others = (root / "train").is_dir(), root / "test", list[str]()
    if not split and test_folder.is_dir():
        raise DataError(f"{root / 'train'} is not a folder, but {test_folder} is: move the training images into train/")
    folder, notes = root / "train" if split else root, list[str]()
    classes, beside = _classes(folder, others)
    if beside and split:  # version 0.1 left them out too, and the images of an experiment must stay the same
        notes.append(f"left out: {_counted(beside, 'image')} in {folder} beside its folders: {_named(beside)}")
    elif beside:
        notes.append(f"images lie both in {root} and in its folders ({_named(classes)}), so they have no classes")
        classes = ()
    train, test = _files_of(folder, classes, others), None
    if split and test_folder.is_dir():
        found = _classes(test_folder, others)[0] if classes else ()
        if found != classes:
            odd = ", ".join(sorted(set(classes) ^ set(found)))
            raise DataError(f"{root}: train and test must hold the same classes, but only one of them has {odd}")
        test = _files_of(test_folder, classes, others)
    if unused := [name for name in _folders(root) if name not in ("train", "test")] if split else []:
        notes.append(f"left out: {_counted(unused, 'folder')} beside train and test: {_named(unused)}")
    if left := [os.path.relpath(path, root) for path in dict.fromkeys(others)]:
        notes.append(f"left out: {_counted(left, 'file')} of other types: {_named(left)}")
    return Listing(root, classes, train, test, notes)


def _files_of(folder: Path, classes: tuple[str, ...], others: list[str]) -> list[File]:
    """Return the images of all classes, or all images if there are no classes."""
    if not classes:
        return _files(folder, 0, others)
    return [file for label, name in enumerate(classes) for file in _files(folder / name, label, others)]


def _classes(folder: Path, others: list[str]) -> tuple[tuple[str, ...], list[str]]:
    """Return the folders in `folder`, and the names of the images beside them. Add other files to `others`."""
    if not (classes := tuple(_folders(folder))):
        return (), []
    with os.scandir(folder) as entries:
        paths = sorted(entry.path for entry in entries if entry.name[0] != "." and not entry.is_dir())
    images = [path for path in paths if _file(path, 0)]
    others += sorted({*paths} - {*images})
    return classes, [os.path.basename(path) for path in images]  # noqa: PTH119


def _folders(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir() if one.is_dir() and one.name[0] != "." and one.name != UNPACKED)


def _files(folder: Path, label: int, others: list[str]) -> list[File]:
    """Return the image files under `folder`, sorted by path, and add the paths of other files to `others`."""
    files: list[File] = []
    for path in sorted(_paths(folder)):
        file = _file(path, label)
        if file is None:
            others.append(path)
        else:
            files.append(file)
    if not files:
        raise DataError(f"{folder} holds no image: add some ({', '.join(FORMATS)}) or remove the folder")
    return files


def _paths(folder: Path) -> Iterator[str]:
    for parent, folders, names in os.walk(folder, onerror=_unreadable):
        folders[:] = [name for name in folders if name[0] != "." and name != UNPACKED]
        # os.path, because 60,000 Paths cost a second
        yield from (os.path.join(parent, name) for name in names if name[0] != ".")  # noqa: PTH118


def _unreadable(error: OSError) -> NoReturn:
    raise error


def _file(path: str, label: int) -> File | None:
    """Return the file if it is an image by its extension or, without an extension, by its first bytes."""
    extension = os.path.splitext(path)[1].lower()  # noqa: PTH122
    if extension and extension not in EXTENSIONS:
        return None
    status = os.stat(path)  # noqa: PTH116
    if not stat.S_ISREG(status.st_mode):
        if not extension:
            return None
        raise DataError(f"{path} is not a file: remove it")
    if not extension:
        with open(path, "rb") as content:  # noqa: PTH123
            if not SIGNATURE.match(content.read(16)):
                return None
    return File(path, label, status.st_size, status.st_mtime_ns)


@contextmanager
def opened(path: str) -> Iterator[Image.Image]:
    """Open an image with one of the decoders of FORMATS. Its pixels are decoded when they are used.

    Raise DataError, also for what goes wrong inside the block.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about metadata and large images, which are no mistakes
            with Image.open(path, formats=FORMATS) as image:
                if image.mode[0] in "IF":  # Pillow would clip values above 255
                    raise DataError(f"{path} has pixels of more than 8 bits: convert it to 8 bits a channel")
                yield image
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError(
            f"{path} cannot be read as an image (its content is none of {', '.join(FORMATS)}): convert or remove it"
        ) from None
    except Exception as error:  # a damaged file makes Pillow raise nearly anything
        raise DataError(f"{path} cannot be read as an image ({error}): replace or remove it") from error


def _counted(things: list[str], name: str) -> str:
    return f"{len(things):,} {name}{'s' * (len(things) != 1)}"


def _named(names: tuple[str, ...] | list[str]) -> str:
    """Return the first few names."""
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
