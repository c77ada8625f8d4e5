from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from trainables.beta_vae.layers import Down, Up
from trainables.beta_vae.network import Vae


def plain(network: nn.Module) -> nn.Module:
    """Return a copy of the network whose convolutions are torch's own."""
    copy = deepcopy(network)
    for module in copy.modules():
        if isinstance(module, Down | Up):
            module.__class__ = nn.Conv2d if isinstance(module, Down) else nn.ConvTranspose2d  # type: ignore[assignment]
    return copy


def outputs_and_gradients(network: nn.Module, x: Tensor, *rest: Tensor) -> list[Tensor | None]:
    x = x.clone().requires_grad_()
    found = network(x, *rest)
    outputs = [found] if isinstance(found, Tensor) else list(found)
    torch.cat([output.flatten() for output in outputs]).square().sum().backward()  # type: ignore[no-untyped-call]
    return [*outputs, x.grad, *(weight.grad for weight in network.parameters())]


@pytest.mark.parametrize(("kind", "side"), [(Down, 2), (Up, 1)])
def test_a_layer_and_its_gradients_are_those_of_the_convolution(kind: type[Down | Up], side: int) -> None:
    layer, x = kind(6, 5), torch.randn(3, 6, side, side)
    torch.testing.assert_close(
        outputs_and_gradients(layer, x), outputs_and_gradients(plain(layer), x), rtol=1e-5, atol=1e-5
    )


def test_an_autoencoder_of_small_images_and_its_gradients_are_those_of_plain_convolutions() -> None:
    net = Vae(4, 8, resolution=16).double()
    x, noise = torch.rand(5, 3, 16, 16).double(), torch.randn(5, 4).double()
    torch.testing.assert_close(outputs_and_gradients(net, x, noise), outputs_and_gradients(plain(net), x, noise))
