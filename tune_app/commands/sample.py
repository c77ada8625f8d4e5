"""Draw images from a trained model into files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from search_spaces.distributions import Scalar
from trainables.catalog import MODELS
from trainables.files import write_file
from tune_app.commands.model_source import Source, trained_model
from tune_app.errors import InputError, StorageError
from tune_app.experiment.out_folder import check_new_file, check_new_folder

if TYPE_CHECKING:
    from torch import Tensor

COLUMNS = 8
DEFAULT_OUT = Path("samples.png")
FRAMES, MOST_ANIMATED = 61, 64
"""Frames of an animation at most, and images in each."""
SHOWN = 16
"""Held-out images from which a Beta-VAE's pictures are made."""
PICTURES = ("reconstructions", "traversal", "interpolation")


@dataclass(frozen=True)
class SampleRequest:
    """The images to draw, the model to draw from, and the files to write."""

    where: str
    experiments: Path
    trial: str | None
    count: int
    seed: int
    nfe: int | None
    sampling: Mapping[str, str]
    """Values of the sampling setting that replace the model's."""
    out: Path | None
    """A .png for a grid, or an .npz for the images as an array. None with `animate` draws the animation alone."""
    each: Path | None = None
    """A folder for one file for each image."""
    pictures: tuple[str, ...] = ()
    """Pictures of a Beta-VAE to draw as well, of PICTURES."""
    animate: Path | None = None
    """A .gif of the annealing of an NCSN's first images."""


def sample(request: SampleRequest) -> list[Path]:
    """Write the files and return them. Raise InputError before anything is drawn if one exists or cannot be drawn."""
    out = request.out or DEFAULT_OUT
    if out.suffix not in (".png", ".npz"):
        raise InputError(f"--out {out}: must end in .png or .npz")
    if request.animate and request.animate.suffix != ".gif":
        raise InputError(f"--animate {request.animate}: must end in .gif")
    extra = {name: out.with_name(f"{out.stem}-{name}.png") for name in request.pictures}
    alone = request.animate is not None and not (request.out or request.each or extra)
    for path in (None if alone else out, *extra.values()):
        if path:
            check_new_file(path)
    if request.each:
        check_new_folder(request.each, "--each")
    if request.animate:
        check_new_file(request.animate, "--animate")
    source = trained_model(request.where, request.experiments, request.trial)
    setting = _setting(source, request.sampling)
    if request.pictures and (source.model.name != "beta_vae" or source.data is None):
        raise InputError("--reconstruct, --traverse and --interpolate need a Beta-VAE and the images it was trained on")
    if request.animate and source.model.name != "ncsn":
        raise InputError(f"--animate needs an NCSN: {source.model.name} draws an image at once, without annealing")
    try:
        written = [_animation(request, source, setting, request.animate)] if request.animate else []
        if not alone:
            images = source.model.sample(request.count, seed=request.seed, nfe=request.nfe, **setting)
            written += _write(request, source, images, out, extra)
    except OSError as error:
        raise StorageError.of(error, out) from error
    return written


def _animation(request: SampleRequest, source: Source, setting: Mapping[str, Scalar], path: Path) -> Path:
    from trainables.pictures import gif

    count = min(request.count, MOST_ANIMATED)
    frames = source.model.anneal(count, frames=FRAMES, seed=request.seed, nfe=request.nfe, **setting)
    write_file(path, gif(frames, columns=min(COLUMNS, count)))
    return path


def _setting(source: Source, given: Mapping[str, str]) -> dict[str, Scalar]:
    """Return the given sampling values as the model takes them. Raise InputError."""
    from tune_app.config.model_parameters import model_parameters

    known = MODELS[source.model.name].parameters
    for name in given:
        if name not in known or known[name].stage != "sampling":
            raise InputError(f"{source.model.name} has no sampling parameter {name}")
    values = model_parameters(source.model.name, dict(given))
    return {name: values[name] for name in given}


def _write(request: SampleRequest, source: Source, images: Tensor, out: Path, extra: Mapping[str, Path]) -> list[Path]:
    from trainables.pictures import png

    written = [out]
    if out.suffix == ".npz":
        _write_array(out, images)
    else:
        write_file(out, png(images, columns=min(COLUMNS, len(images))))
    if request.each:
        request.each.mkdir(parents=True)
        digits = len(str(len(images) - 1))
        for number, image in enumerate(images):
            write_file(request.each / f"{number:0{digits}d}.png", _single(image))
        written.append(request.each)
    if extra:
        written += _write_pictures(source, request.seed, extra)
    return written


def _write_array(path: Path, images: Tensor) -> None:
    """Write the images as uint8 (N, H, W, C) under the name `images`, rounded as in a picture."""
    from io import BytesIO

    import numpy as np

    file = BytesIO()
    np.savez_compressed(file, images=(images * 255).round().byte().permute(0, 2, 3, 1).numpy())
    write_file(path, file.getvalue())


def _single(image: Tensor) -> bytes:
    from io import BytesIO

    from PIL import Image

    file = BytesIO()
    pixels = (image * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0]).save(file, "PNG")
    return file.getvalue()


def _write_pictures(source: Source, seed: int, paths: Mapping[str, Path]) -> list[Path]:
    import torch

    from trainables.pictures import png

    assert source.data
    device = next(source.model.network.parameters()).device
    real = source.data.held_out[:SHOWN].to(device).float() / 255
    with torch.inference_mode():
        grids = source.model.model.pictures(source.model.network, real, torch.Generator(device).manual_seed(seed))
    for name, path in paths.items():
        write_file(path, png(grids[name].images, grids[name].columns))
    return [*paths.values()]
