"""Weight-free image features: fixed random convolutions, the same on every machine."""

from functools import lru_cache
from hashlib import sha256
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trainables import precision

CHANNELS = (3, 32, 64, 64)
SEED = 20240229
CHUNK = {"cpu": 50, "cuda": 1000}
"""Images that are processed at a time: few enough to stay in a processor's cache, or enough to fill a GPU."""
DIMENSIONS = 2 * sum(CHANNELS[1:]) + 4 * CHANNELS[0]
SMALLEST = 16


class RandConv:
    """The function `features` as a feature set."""

    name = "randconv"

    def __init__(self) -> None:
        self.fingerprint = fingerprint()

    def __call__(self, images: Tensor) -> Tensor:
        return features(images)


def features(images: Tensor) -> Tensor:
    """Return features float32 (N, 332) of images (N, C, H, W), uint8 or in [0, 1], of 16 pixels or more.

    C is 1 or 3. They are computed in float32 on the GPU if there is one, and differ between devices by rounding alone.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3) or min(images.shape[2:]) < SMALLEST:
        raise ValueError(
            f"images must be (N, 3, H, W) or (N, 1, H, W) of {SMALLEST} pixels or more, not {tuple(images.shape)}"
        )
    device = precision.default_device()
    with torch.inference_mode(), precision.exact():
        return torch.cat(
            [_stages(unit(chunk, device)).cpu() for chunk in torch.split(images, CHUNK[device.type])]
        ).clone()


def fingerprint() -> str:
    """Return the SHA-256 of everything that defines the features. Compare only KIDs of one fingerprint."""
    digest = sha256(b"randconv 1: reflect, 3x3, relu, mean and sd, average pool 2, 2x2 colour means")
    for weight in _filters():
        digest.update(weight.numpy().data)
    return digest.hexdigest()


def _stages(x: Tensor) -> Tensor:
    stages = [F.adaptive_avg_pool2d(x, 2).flatten(1)]  # zero-mean filters do not see the colours themselves
    for index, weight in enumerate(_filters()):
        x = F.avg_pool2d(x, 2) if index else x
        x = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), weight.to(x.device)).relu()
        mean = x.mean((2, 3), keepdim=True)
        sd = (x - mean).square_().mean((2, 3)).sqrt_()  # three times as fast as Tensor.std
        stages += [mean.flatten(1), sd]
    return torch.cat(stages, dim=1)


@lru_cache(maxsize=1)
def _filters() -> tuple[Tensor, ...]:
    """Return three banks (C_out, C_in, 3, 3) of filters with mean 0 and norm 1."""
    random = np.random.RandomState(SEED)  # its stream is frozen across versions, default_rng's and torch's are not
    banks = []
    for inputs, outputs in pairwise(CHANNELS):
        bank = random.standard_normal((outputs, inputs * 9))
        bank -= bank.mean(1, keepdims=True)
        bank /= np.linalg.norm(bank, axis=1, keepdims=True)
        banks.append(torch.from_numpy(bank.reshape(outputs, inputs, 3, 3).astype(np.float32)))
    return tuple(banks)


def in_colour(images: Tensor) -> Tensor:
    """Return images (N, 3, H, W). A grey image has its channel three times, as is usual for FID."""
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


def unit(images: Tensor, device: torch.device) -> Tensor:
    """Return images (N, 3, H, W) in [0, 1] on a device."""
    images = in_colour(images.detach().to(device))
    return images.float() / 255 if images.dtype == torch.uint8 else images.float()
