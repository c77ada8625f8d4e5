"""Features by which the field compares images: Inception-v3 of 2015-12-05, from the user's own copy of its weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from hashlib import sha256 as new_digest
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import inception as tv

from trainables.contract import FeaturesError
from trainables.precision import default_device

FILE = "weights-inception-2015-12-05-6726825d.pth"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
REMEDY = f"get {FILE} from the releases of torch-fidelity, or the same bytes from pytorch-fid as pt_{FILE[8:]}"
RECIPE = "inception 1: 8 bits, TF1 bilinear 299, (x - 128) / 128, pool 2048"
"""Raise its number when the same file would give other features."""
SIDE, CLASSES, CHUNK, SMALLEST = 299, 1008, 50, 16
MALFORMED = (UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError)
"""What torch raises on a file that holds something other than these weights."""


class Inception:
    """Features float32 (N, 2048) on the CPU of images (N, 3, H, W), uint8 or in [0, 1], of 16 pixels or more.

    Floats are rounded to 8 bits first: the field's numbers come from images that were saved.
    """

    name = "inception"

    def __init__(self, path: Path, *, sha256: str = SHA256) -> None:
        """Raises FeaturesError where `path` is missing, is not the file of `sha256` or cannot be read."""
        self.device = default_device()
        self.network = _load(path, sha256).to(self.device)
        self.fingerprint = new_digest(f"{RECIPE} {sha256}".encode()).hexdigest()

    def __call__(self, images: Tensor) -> Tensor:
        if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[2:]) < SMALLEST:
            raise ValueError(f"images must be (N, 3, H, W) of {SMALLEST} pixels or more, not {tuple(images.shape)}")
        # TensorFloat-32, a GPU's own choice for convolutions, keeps 10 bits: the number would tell of the card
        exact = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
        with torch.inference_mode(), torch.autocast(self.device.type, enabled=False), exact:
            return torch.cat([self._features(chunk.to(self.device)) for chunk in torch.split(images, CHUNK)])

    def _features(self, images: Tensor) -> Tensor:
        found: Tensor = self.network((tf1_resize(_eight_bits(images), SIDE) - 128) / 128)
        return found.cpu()  # (B, 2048)


def tf1_resize(x: Tensor, side: int) -> Tensor:
    """Bilinear as in TensorFlow 1: source = target * size / side, no half-pixel centres, clamped at the far edge."""
    for dim in (3, 2):
        size = x.shape[dim]
        target = torch.arange(side, device=x.device) * size  # in units of 1 / side of a source pixel: integers, exact
        low, share = target // side, (target % side / side).view(-1, *[1] * (3 - dim))
        x = x.index_select(dim, low).lerp(x.index_select(dim, (low + 1).clamp_max(size - 1)), share)
    return x


def _eight_bits(images: Tensor) -> Tensor:
    return images.float() if images.dtype == torch.uint8 else (images.float() * 255).round().clamp(0, 255)


def _load(path: Path, sha256: str) -> nn.Module:
    """The network of the file, which is read only if its bytes are those asked for."""
    try:
        if not path.is_file():
            raise FeaturesError(f"{path} {'is not a file' if path.exists() else 'does not exist'}: {REMEDY}")
        with path.open("rb") as file:  # checked and read through one handle
            digest = new_digest()
            while chunk := file.read(1 << 20):
                digest.update(chunk)
            if digest.hexdigest() != sha256:
                raise FeaturesError(f"{path} has SHA-256 {digest.hexdigest()}, expected {sha256}: {REMEDY}")
            file.seek(0)
            return _network(torch.load(file, map_location="cpu", weights_only=True))
    except OSError as error:
        raise FeaturesError(f"{path} cannot be read ({error.strerror}): make it readable, or {REMEDY}") from error
    except MALFORMED as error:  # torch's own text is no use: it advises to load the file without the guard
        raise FeaturesError(f"{path} does not hold the weights of Inception-v3 and nothing else: {REMEDY}") from error


def _network(weights: dict[str, Tensor]) -> nn.Module:
    """torchvision's network with the pools of the graph of 2015, from image to pool features."""
    mean = partial(F.avg_pool2d, kernel_size=3, stride=1, padding=1, count_include_pad=False)
    most = partial(F.max_pool2d, kernel_size=3, stride=1, padding=1)  # a slip of that graph, now part of the convention
    a, c, e = (_pooling(block, mean) for block in (tv.InceptionA, tv.InceptionC, tv.InceptionE))
    blocks = [tv.BasicConv2d, a, tv.InceptionB, c, tv.InceptionD, e, tv.InceptionAux]
    with torch.device("meta"):  # neither memory nor a draw from the global generator for weights to be replaced
        network: nn.Module = tv.Inception3(CLASSES, aux_logits=False, init_weights=False, inception_blocks=blocks)
        network.Mixed_7c = _pooling(tv.InceptionE, most)(2048)
    network.load_state_dict(weights, assign=True)  # strict: the file has num_batches_tracked too
    network.fc = nn.Identity()
    return network.eval().requires_grad_(False)


def _pooling(block: Any, pool: Callable[[Tensor], Tensor]) -> Any:
    """torchvision's block with another pool; its own is computed and dropped: 5 % more work, no copy of its code."""

    class Patched(block):
        def _forward(self, x: Tensor) -> list[Tensor]:
            return [*super()._forward(x)[:-1], self.branch_pool(pool(x))]

    return Patched
