"""DCGAN (Radford et al. 2016): a generator and a discriminator, each with its own Adam."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.plugin import ImageFacts, ImageModel, Parameter, Scalar, image_model
from trainables.training import ImageRun


class Dcgan(ImageModel):
    """Generator and discriminator in one network, so that both are averaged, saved and checked."""

    def __init__(self, params: Mapping[str, Scalar], images: ImageFacts) -> None:
        channels, side, _ = images.shape
        width, self.latent = int(params["width"]), int(params["latent_dim"])
        sizes = [width * side // (8 * 2**level) for level in range(side.bit_length() - 3)]  # widest at 4x4 pixels
        up: list[nn.Module] = [nn.ConvTranspose2d(self.latent, sizes[0], 4), nn.BatchNorm2d(sizes[0]), nn.ReLU()]
        for inner, outer in pairwise(sizes):
            up += [nn.ConvTranspose2d(inner, outer, 4, 2, 1), nn.BatchNorm2d(outer), nn.ReLU()]
        down: list[nn.Module] = [nn.Conv2d(channels, sizes[-1], 4, 2, 1), nn.LeakyReLU(0.2)]
        for inner, outer in pairwise(sizes[::-1]):
            down += [nn.Conv2d(inner, outer, 4, 2, 1), nn.BatchNorm2d(outer), nn.LeakyReLU(0.2)]
        self.network = nn.ModuleDict(
            {
                "generator": nn.Sequential(*up, nn.ConvTranspose2d(sizes[-1], channels, 4, 2, 1), nn.Sigmoid()),
                "discriminator": nn.Sequential(*down, nn.Conv2d(sizes[0], 1, 4)),
            }
        )

    def loss(self, network: nn.Module, x: Tensor, kimg: float, generator: torch.Generator) -> Tensor:
        """Return how well the discriminator tells the held-out images x from samples, (B,)."""
        fake = self.sample(network, len(x), {}, 1, generator)
        return F.softplus(-_verdict(network, x)) + F.softplus(_verdict(network, fake))

    def sample(
        self, network: nn.Module, count: int, sampling: Mapping[str, Scalar], nfe: int, generator: torch.Generator
    ) -> Tensor:
        """Return images of latents from N(0, I)."""
        z = torch.randn(count, self.latent, 1, 1, generator=generator, device=generator.device)
        images: Tensor = network["generator"](z)
        return images

    def settled(self, sampling: Mapping[str, Scalar], nfe: int) -> dict[str, Scalar]:
        """Return the setting: an image takes one network evaluation."""
        return {**sampling, "nfe": 1}


class GanTraining(ImageRun):
    """A step of the discriminator, then one of the generator, with the losses that do not saturate."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        lr, beta1 = float(self.spec.params["lr_discriminator"]), float(self.spec.params["adam_beta1"])
        self._critic = torch.optim.Adam(self.network["discriminator"].parameters(), lr=lr, betas=(beta1, 0.999))

    def trained(self) -> nn.Module:
        """Return the generator, whose optimiser is the usual one. The discriminator has its own."""
        generator: nn.Module = self.network["generator"]
        return generator

    def step(self, x: Tensor) -> dict[str, Tensor]:
        """Train on images (B, C, H, W) and return both losses of each image, (B,)."""
        fake = self.model.sample(self.network, len(x), {}, 1, self.noise)
        critic = F.softplus(-_verdict(self.network, x)) + F.softplus(_verdict(self.network, fake.detach()))
        self._critic.zero_grad()
        critic.mean().backward()
        self._critic.step()
        loss = F.softplus(-_verdict(self.network, fake))
        self.optimizer.zero_grad()
        loss.mean().backward()
        self.optimizer.step()
        return {"loss": loss, "discriminator_loss": critic}

    def state(self) -> dict[str, Any]:
        return {**super().state(), "critic": self._critic.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self._critic.load_state_dict(state["critic"])


def _verdict(network: nn.Module, x: Tensor) -> Tensor:
    logits: Tensor = network["discriminator"](x)
    return logits.flatten()


MODELS = {
    "dcgan": image_model(
        Dcgan,
        {
            "lr": Parameter(2e-4, "Adam's learning rate of the generator", above=0, high=1),
            "lr_discriminator": Parameter(2e-4, "Adam's learning rate of the discriminator", above=0, high=1),
            "adam_beta1": Parameter(0.5, "Adam's decay of the mean gradient", low=0, high=0.9999),
            "latent_dim": Parameter(64, "latent dimensions", low=1, high=1024),
            "width": Parameter(32, "channels per eighth of the side, at 4x4 pixels", low=4, high=512),
        },
        training=GanTraining,
    )
}
