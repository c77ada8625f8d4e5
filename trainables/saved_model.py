"""A trained model that draws images without its sweep: from a run, or from a folder of weights and a description."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trainables.allocator import keep_freed_memory
from trainables.build import image_model_maker
from trainables.catalog import MODELS
from trainables.checkpoint import CheckpointError
from trainables.contract import ImageFacts, Scalar
from trainables.evaluation import CHUNK
from trainables.files import write_file, write_json
from trainables.ncsn.task import Ncsn
from trainables.precision import autocast, default_device
from trainables.progress import report

if TYPE_CHECKING:
    from torch import nn

    from trainables.contract import ImageModel
    from trainables.training import ImageRun

WEIGHTS, CONFIG = "model.safetensors", "config.json"
FORMAT = 1
MOST_CONFIG_BYTES = 1_000_000
LARGEST_SIDE = 4096


@dataclass(frozen=True)
class SavedModel:
    """A model with its averaged weights, and the sampling setting to use."""

    name: str
    """Name of the model in the catalog."""
    params: Mapping[str, Scalar]
    """Parameters of the training stage."""
    sampling: Mapping[str, Scalar]
    """Sampling setting."""
    nfe: int
    """Network evaluations for one image, of a model that takes more than one."""
    images: ImageFacts
    """Facts about the images that the model was trained on."""
    model: ImageModel
    network: nn.Module

    @classmethod
    def of_run(cls, run: ImageRun, sampling: Mapping[str, Scalar], nfe: int) -> SavedModel:
        """Return the model of a trained run."""
        return cls(
            name=run.spec.model,
            params=dict(run.spec.params),
            sampling=dict(sampling),
            nfe=nfe,
            images=run.data.facts,
            model=run.model,
            network=run.evaluated_network(),
        )

    @classmethod
    def load(cls, folder: Path) -> SavedModel:
        """Return the model that `save` wrote. Raise CheckpointError. Nothing in the folder is run."""
        from safetensors import SafetensorError
        from safetensors.torch import load_model

        about = _described(Path(folder) / CONFIG)
        name, params = about["model"], about["params"]
        images = ImageFacts(tuple(about["shape"]), float(about["mean"]), float(about["variance"]))
        model = image_model_maker(MODELS[name])(params, images)
        try:
            load_model(model.network, Path(folder) / WEIGHTS)
        except (OSError, SafetensorError, RuntimeError) as error:
            raise CheckpointError(f"{Path(folder) / WEIGHTS} does not fit {CONFIG}: {error!s:.200}") from error
        keep_freed_memory()
        network = model.network.to(default_device()).eval()
        return cls(name, params, about["sampling"], about["nfe"], images, model, network)

    def save(self, folder: Path) -> None:
        """Write the weights and the description into `folder`."""
        from safetensors.torch import save

        weights = {name: weight.detach().cpu().contiguous() for name, weight in self.network.state_dict().items()}
        write_file(folder / WEIGHTS, save(weights, metadata={"format": "pt"}))
        about = {
            "format": FORMAT,
            "model": self.name,
            "params": dict(self.params),
            "sampling": dict(self.sampling),
            "nfe": self.nfe,
            "shape": list(self.images.shape),
            "mean": self.images.mean,
            "variance": self.images.variance,
            "plugins": {plugin.name: plugin.sha256 for plugin in MODELS.plugins_of(self.name)},
        }
        write_json(folder / CONFIG, about)

    def sample(self, count: int, *, seed: int = 0, nfe: int | None = None, **sampling: Scalar) -> Tensor:
        """Return `count` images (count, C, H, W) in [0, 1] on the CPU: the same for the same seed on the same CPU.

        `sampling` replaces values of the sampling setting.
        """
        device = next((weight.device for weight in self.network.parameters()), torch.device("cpu"))
        generator, setting = torch.Generator(device).manual_seed(seed), {**self.sampling, **sampling}
        chunks = []
        with torch.inference_mode(), autocast(device):
            for start in range(0, count, CHUNK["cpu"]):
                report(f"sampling images: {start:,} of {count:,}")
                size = min(CHUNK["cpu"], count - start)
                chunks.append(self.model.sample(self.network, size, setting, nfe or self.nfe, generator).float().cpu())
        return _pixels(torch.cat(chunks))

    def anneal(
        self, count: int, *, frames: int, seed: int = 0, nfe: int | None = None, **sampling: Scalar
    ) -> list[Tensor]:
        """Return at most `frames` states of the chains that `sample` follows, evenly spread; the last are its images.

        A state is (count, C, H, W) in [0, 1], where the noise is cut off. Raise ValueError for a model without noise
        levels.
        """
        if not isinstance(self.model, Ncsn):
            raise ValueError(f"{self.name} draws an image at once, so there is no annealing to show")
        device = next(self.network.parameters()).device
        generator, setting = torch.Generator(device).manual_seed(seed), {**self.sampling, **sampling}
        kept = _EvenlySpread(frames - 1)
        with torch.inference_mode(), autocast(device):
            end = self.model.sample(self.network, count, setting, nfe or self.nfe, generator, kept.add)
        return [*kept.states, _pixels(end)]


class _EvenlySpread:
    """At most `most` of the states that are added, the first one included."""

    def __init__(self, most: int) -> None:
        self.states: list[Tensor] = []
        self._most, self._every, self._added = most, 1, 0

    def add(self, state: Tensor) -> None:
        if self._added % self._every == 0:
            if len(self.states) == self._most:
                del self.states[1::2]
                self._every *= 2
            if self._added % self._every == 0:
                self.states.append(_pixels(state))
                report(f"sampling images: step {self._added + 1}")
        self._added += 1


def _pixels(state: Tensor) -> Tensor:
    return state.float().cpu().nan_to_num(0.0).clamp(0, 1)


def _described(path: Path) -> dict[str, Any]:
    """Return the description in a config.json. Raise CheckpointError for anything but what `save` writes."""
    try:
        if path.stat().st_size > MOST_CONFIG_BYTES:
            raise ValueError(f"it is longer than {MOST_CONFIG_BYTES} bytes")
        about = json.loads(path.read_text(encoding="utf-8"))
        if about["format"] != FORMAT:
            raise ValueError(f"it has format {about['format']!r:.20}, and this version reads format {FORMAT}")
        _check_plugins(path, about)
        _check(about)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing: this is not the folder of an exported model") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path} is not the description of an exported model: {error!s:.200}") from error
    return dict(about)


def _check_plugins(path: Path, about: Mapping[str, Any]) -> None:
    """Raise CheckpointError unless the code that the model was exported with is loaded."""
    name, plugins = about.get("model"), about.get("plugins")
    loaded = {one.name: one.sha256 for one in MODELS.plugins_of(name)} if isinstance(name, str) else {}
    for file, digest in plugins.items() if isinstance(plugins, dict) else ():
        if file not in loaded:
            raise CheckpointError(
                f"{path}: its model is defined in {file!r:.60}: load the copy beside it with --models FILE, "
                "or in Python with models=[FILE]"
            )
        if loaded[file] != digest:
            raise CheckpointError(
                f"{path}: {file!r:.60} has changed since the model was exported; use the copy beside it"
            )


def _check(about: dict[str, Any]) -> None:
    entry = MODELS.get(about["model"])
    if entry is None or not entry.uses_images:
        raise ValueError(f"there is no model {about['model']!r:.40}")
    for part, stage in (("params", "training"), ("sampling", "sampling")):
        known = {name: p for name, p in entry.parameters.items() if p.stage == stage}
        for name, value in about[part].items():
            if name not in known:
                raise ValueError(f"{about['model']} has no parameter {name!r:.40}")
            if complaint := known[name].complaint(value):
                raise ValueError(f"{name} {complaint}")
    channels, height, width = about["shape"]
    if channels not in (1, 3) or height != width or not 1 <= int(height) <= LARGEST_SIDE:
        raise ValueError(f"shape {about['shape']!r:.40} is not that of images")
    if not isinstance(about["nfe"], int) or about["nfe"] < 1:
        raise ValueError("nfe must be a whole number, 1 or more")
