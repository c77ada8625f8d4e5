"""The block `data` of a space file."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from typing_extensions import Self

from trainables.contract import DataSpec
from tune_app.config import values
from tune_app.config.block import Block

WITH_PATH = ("folder", "npz")
DRAWN_AT = (16, 32)
"""Resolutions of cifar10 and shapes."""
SMALLEST, LARGEST = 16, 128


class ResizeConfig(Block):
    """How images of any size become square."""

    side: int
    """Side in pixels to which each image is scaled, with antialiasing. It is the `resolution`."""
    crop: Literal["center"] = "center"
    """center: the shorter side is scaled, and both ends of the longer side are cut off."""


def _usual_resolution(data: dict[str, Any]) -> int:
    resize = data.get("resize")
    return resize.side if resize else 16 if data.get("name") == "digits" else 32


def _usual_channels(data: dict[str, Any]) -> Literal[1, 3]:
    return 1 if data.get("name") == "digits" else 3


class DataConfig(Block):
    """The images."""

    name: Literal["cifar10", "shapes", "digits", "folder", "npz"] = "cifar10"
    """cifar10, shapes (drawn by a program), digits (1,797 real ones, no download), folder, or npz (a file)."""
    path: Annotated[str, AfterValidator(values.absolute)] | None = Field(default=None, min_length=1)
    """Folder of images for `name: folder`, or file with `images` and perhaps `labels` for `name: npz`."""
    resize: ResizeConfig | None = None
    """Scale and crop images of any size, for folder and npz. null: they must fit the resolution."""
    resolution: int = Field(default_factory=_usual_resolution)
    """Side of an image in pixels: 16 or 32; for folder, npz and digits any multiple of 8 (beta_vae: 16) up to 128.

    The default is `resize.side` if there is one, 16 for digits, and else 32.
    """
    channels: Annotated[Literal[1, 3], BeforeValidator(values.number)] = Field(default_factory=_usual_channels)
    """3: colours. 1: grayscale; colours are converted. The default is 1 for digits, else 3."""

    @model_validator(mode="after")
    def _path_goes_with_folder(self) -> Self:
        if self.name in WITH_PATH and self.path is None:
            raise ValueError(f"{self.name} needs a path")
        if self.name not in WITH_PATH and self.path is not None:
            raise ValueError(f"path goes with name: folder or npz, not with {self.name}")
        if self.name not in WITH_PATH and self.resize is not None:
            raise ValueError(f"resize goes with name: folder or npz, not with {self.name}")
        return self

    @model_validator(mode="after")
    def _resolution_is_offered(self) -> Self:
        if self.resize and self.resize.side != self.resolution:
            raise ValueError(
                f"resize.side ({self.resize.side}) and resolution ({self.resolution}) must be the same number: "
                f"set resolution to {self.resize.side} too"
            )
        if self.name in ("cifar10", "shapes"):
            if self.resolution not in DRAWN_AT:
                offered = ", ".join(map(str, DRAWN_AT))
                raise ValueError(f"resolution of {self.name} must be one of {offered}, not {self.resolution}")
        elif not SMALLEST <= self.resolution <= LARGEST:
            nearest = SMALLEST if self.resolution < SMALLEST else LARGEST
            raise ValueError(
                f"resolution must lie in [{SMALLEST}, {LARGEST}], not {self.resolution}; the nearest is {nearest}"
            )
        return self

    def spec(self, evaluated_on: str = "held_out") -> DataSpec:
        """Return the images as a trial loads them."""
        crop = self.resize.crop if self.resize else None
        return DataSpec(self.name, self.resolution, self.path, evaluated_on, self.channels, crop)
