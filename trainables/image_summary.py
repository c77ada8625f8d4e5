"""A summary of a data set before it is decoded: number, classes and sizes of its images, and the first problem."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from trainables.contract import DataError, DataSpec
from trainables.image_archive import describe
from trainables.image_files import File, Listing, list_images, opened

FEWEST, FEWEST_TEST = 6, 3
LOOKED_AT = 2000
"""Files of a folder that are opened, evenly spread, so that looking takes less than a second."""
SIZES_NAMED, CLASSES_NAMED = 4, 10
SIDE_MULTIPLE = 8
"""Sides that are no multiple of this fit no model."""
Size = tuple[int, int]


@dataclass(frozen=True)
class ImageSummary:
    """Contents of a data folder or file."""

    count: int
    """Images in all."""
    test: int
    """Test images among them. 0: a fixed tenth will be held out as test images."""
    classes: list[str]
    """Names of the classes; empty if the images have none."""
    sizes: dict[str, int]
    """Number of images by width and height, such as `28x28`, among those that were opened."""
    notes: list[str] = field(default_factory=list)
    """Sentences about what is left out."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> list[str]:
        """Return the summary as text."""
        number = f"{len(self.classes)} classes" if self.has_classes else "one class"
        classes = f"in {number} ({_named(self.classes, CLASSES_NAMED)})" if self.classes else "without classes"
        held = f"{self.test:,} of them for test" if self.test else "a tenth of them is held out for test"
        lines = [f"{self.count:,} images {classes}; {held}"]
        opened_ones = sum(self.sizes.values())
        some = f" (of {opened_ones:,} opened)" if opened_ones < self.count else ""
        lines.append(f"sizes: {_sizes(self.sizes, of_all=opened_ones)}{some}")
        if not self.has_classes:
            lines.append("the cnn features need two classes or more, so kid uses randconv")
        return [*lines, *self.notes]

    @property
    def has_classes(self) -> bool:
        """True if there are two classes or more, which the cnn features need."""
        return len(self.classes) > 1


def summarise(spec: DataSpec) -> ImageSummary | None:
    """Return a summary of a `folder` or an `npz` file, and None for a data set that is built in.

    Raise DataError with the first problem.
    """
    if spec.name == "folder":
        return _of_folder(spec)
    return _of_archive(spec) if spec.name == "npz" else None


def path_of(spec: DataSpec) -> str:
    """Return the path of the images. Raise DataError if there is none."""
    if not spec.path:
        what = "DIR" if spec.name == "folder" else "FILE"
        raise DataError(f"data set {spec.name} needs a path: `--data {spec.name}:{what}`")
    return spec.path


def check_count(place: object, count: int, *, has_test: bool) -> None:
    """Raise DataError if there are too few images."""
    fewest = FEWEST if has_test else FEWEST + FEWEST_TEST
    if count < fewest:
        raise DataError(f"{place} holds {count} images: at least {fewest} are needed")


def check_sizes(listing: Listing, spec: DataSpec) -> Counter[Size]:
    """Return the number of images of each width and height. Raise DataError if one cannot be used."""
    files, sizes, first = _spread([*listing.train, *(listing.test or [])]), Counter[Size](), ""
    for file in files:
        with opened(file.path) as image:
            sizes[image.size] += 1
            first = first or ("" if fits(image.size, spec) else file.path)
    if first:
        raise DataError(misfit(f"{listing.root}: images", sizes, spec) + f" (the first one: {first})")
    return sizes


def fits(size: Size, spec: DataSpec) -> bool:
    """Return True if images of this width and height can be used."""
    width, height = size
    return bool(spec.crop) or (width == height and width % spec.resolution == 0)


def misfit(where: str, sizes: Counter[Size], spec: DataSpec) -> str:
    """Return the sentence about sizes that cannot be used."""
    side = spec.resolution
    wrong = {_shown(size): count for size, count in sizes.most_common() if not fits(size, spec)}
    (width, height), *others = sizes
    fitting = not others and width == height and width % SIDE_MULTIPLE == 0
    instead = f", or set `data.resolution: {width}`" if fitting else ""
    return (
        f"{where} of {_sizes(wrong, of_all=sizes.total())} pixels do not fit resolution {side}, which takes "
        f"{side}x{side} or a whole multiple: "
        f"add `data.resize: {{side: {side}, crop: center}}` to scale and crop every image{instead}"
    )


def _of_folder(spec: DataSpec) -> ImageSummary:
    listing = list_images(path_of(spec))
    test = listing.test or []
    check_count(listing.root, len(listing.train), has_test=bool(test))
    sizes = check_sizes(listing, spec)
    return ImageSummary(
        count=len(listing.train) + len(test),
        test=len(test),
        classes=list(listing.classes),
        sizes={_shown(size): count for size, count in sizes.most_common()},
        notes=listing.notes,
    )


def _of_archive(spec: DataSpec) -> ImageSummary:
    archive = describe(path_of(spec))
    check_count(archive.path, archive.count, has_test=False)
    if not fits(archive.size, spec):
        raise DataError(misfit(f"{archive.path}: images", Counter({archive.size: archive.count}), spec))
    return ImageSummary(archive.count, 0, list(archive.classes), {_shown(archive.size): archive.count})


def _spread(files: Sequence[File]) -> Sequence[File]:
    """Return at most LOOKED_AT of the files, evenly spread."""
    step = max(1, -(-len(files) // LOOKED_AT))
    return files[::step]


def _shown(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


def _sizes(sizes: dict[str, int], *, of_all: int) -> str:
    """Return sizes with their numbers; a size of all images stands alone."""
    if [*sizes.values()] == [of_all]:
        return next(iter(sizes))
    return _named([f"{size} ({count:,})" for size, count in sizes.items()], SIZES_NAMED)


def _named(names: Sequence[str], most: int) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
