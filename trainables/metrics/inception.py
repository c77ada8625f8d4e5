"""Inception features, as the field uses them: torch-fidelity's network with the user's own weights file."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trainables.contract import FeaturesError
from trainables.files import sha256_of
from trainables.metrics.randconv import in_colour
from trainables.precision import default_device, exact, on_device

if TYPE_CHECKING:
    from torch import nn

FILE = "weights-inception-2015-12-05-6726825d.pth"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
REMEDY = f"get {FILE} from the releases of torch-fidelity, or the same bytes from pytorch-fid as pt_{FILE[8:]}"
RECIPE = "inception 1: 8 bits, TF1 bilinear 299, (x - 128) / 128, pool 2048"
"""Part of the fingerprint. Raise its number if the same weights file would give other features."""
LAYER, SMALLEST = "2048", 16
CHUNK = {"cpu": 50, "cuda": 250}
MALFORMED = (UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError)
"""Errors of torch for a file that holds something other than these weights."""


class Inception:
    """Features float32 (N, 2048) on the CPU of images (N, C, H, W), uint8 or in [0, 1], of 16 pixels or more.

    C is 1 or 3. Floats are rounded to 8 bits first, because published numbers come from saved images.
    """

    name = "inception"

    def __init__(self, path: Path, *, sha256: str = SHA256) -> None:
        """Raise FeaturesError if `path` is missing, has another SHA-256 or cannot be read."""
        from hashlib import sha256 as new_digest

        self.network = _load(path, sha256)
        self.fingerprint = new_digest(f"{RECIPE} {sha256}".encode()).hexdigest()

    def __call__(self, images: Tensor) -> Tensor:
        """Return the features of images."""
        if images.ndim != 4 or images.shape[1] not in (1, 3) or min(images.shape[2:]) < SMALLEST:
            raise ValueError(
                f"images must be (N, 3, H, W) or (N, 1, H, W) of {SMALLEST} pixels or more, not {tuple(images.shape)}"
            )
        device = default_device()
        network = on_device(self.network, device)
        with torch.inference_mode(), exact():
            parts = torch.split(images, CHUNK[device.type])
            return torch.cat([network(_eight_bits(in_colour(part.to(device))))[0].cpu() for part in parts])  # (N, 2048)


def _eight_bits(images: Tensor) -> Tensor:
    return images if images.dtype == torch.uint8 else (images.float() * 255).round().clamp(0, 255).byte()


def _load(path: Path, sha256: str) -> nn.Module:
    """Return the network with the weights of the file. The file is loaded only if its SHA-256 is right."""
    try:
        if not path.is_file():
            raise FeaturesError(f"{path} {'is not a file' if path.exists() else 'does not exist'}: {REMEDY}")
        digest = sha256_of(path)
        if digest != sha256:
            raise FeaturesError(f"{path} has SHA-256 {digest}, expected {sha256}: {REMEDY}")
        # torch-fidelity unpickles the file without restrictions, so make sure first that it holds only weights
        torch.load(path, map_location="cpu", weights_only=True)
        return _network(path)
    except OSError as error:
        raise FeaturesError(f"{path} cannot be read ({error.strerror}): make it readable, or {REMEDY}") from error
    except MALFORMED as error:  # torch's message advises to load the file without the restriction
        raise FeaturesError(f"{path} must hold the weights of Inception-v3 and nothing else: {REMEDY}") from error


def _network(path: Path) -> nn.Module:
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise FeaturesError(
            f"inception needs the package torch-fidelity ({error}): pip install 'tune_app[fid]'"
        ) from None
    with torch.random.fork_rng(devices=[]):  # the initial weights, which the file replaces, are drawn at random
        network: nn.Module = FeatureExtractorInceptionV3("inception", [LAYER], feature_extractor_weights_path=str(path))
    return network
