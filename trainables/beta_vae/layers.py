"""The strided convolutions of the autoencoder. Between 2x2 and 1x1 pixels they are matrix products on a CPU.

Convolution kernels for CPUs are slow there, because 12 of the 16 taps see only padding. The weights are torch's own.
"""

import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

KERNEL, STRIDE, PADDING = 4, 2, 1
INNER = slice(PADDING, KERNEL - PADDING)
"""The taps, along one side, that see the pixels of a 2x2 image."""


class Down(nn.Conv2d):
    """A convolution that halves both sides of the image."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, KERNEL, stride=STRIDE, padding=PADDING)

    @override
    def forward(self, input: Tensor) -> Tensor:
        """Return the convolution (B, outputs, H / 2, W / 2) of `input` (B, inputs, H, W)."""
        if input.device.type != "cpu" or input.shape[2:] != (2, 2):
            return super().forward(input)
        weight = self.weight[:, :, INNER, INNER].flatten(1)  # (outputs, 4 inputs)
        return F.linear(input.flatten(1), weight, self.bias)[..., None, None]


class Up(nn.ConvTranspose2d):
    """A transposed convolution that doubles both sides of the image."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, KERNEL, stride=STRIDE, padding=PADDING)

    @override
    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Return the transposed convolution (B, outputs, 2 H, 2 W) of `input` (B, inputs, H, W)."""
        if input.device.type != "cpu" or input.shape[2:] != (1, 1):
            return super().forward(input, output_size)
        assert self.bias is not None
        weight = self.weight[:, :, INNER, INNER].flatten(1)  # (inputs, 4 outputs)
        product = F.linear(input.flatten(1), weight.T, self.bias.repeat_interleave(4))
        return product.reshape(len(input), self.out_channels, 2, 2)
