"""Pictures and samples of a decoder: prior samples, reconstructions, latent traversals and interpolations."""

import torch
from torch import Tensor

from trainables.beta_vae.loss import kl_divergence
from trainables.beta_vae.network import Vae
from trainables.contract import Grid

STEPS = 10
REACH = 3.0


@torch.no_grad()
def sample_prior(network: Vae, count: int, generator: torch.Generator) -> Tensor:
    """Return `count` images decoded from z ~ N(0, I)."""
    z = torch.randn(count, network.latent_dim, generator=generator, device=generator.device)
    return torch.cat([network.decode(part) for part in torch.split(z, 512)])


@torch.no_grad()
def reconstructions(network: Vae, x: Tensor, most: int = 10) -> Grid:
    """Return originals above their reconstructions."""
    x = x[:most]
    mean, _ = network.encode(x)
    return Grid(torch.cat([x, network.decode(mean)]), columns=len(x))


@torch.no_grad()
def traversal(network: Vae, x: Tensor, latents: int = 8) -> Grid:
    """Return variants of the first image. Each row moves one latent from -3 to 3, the one with the largest KL first."""
    mean, log_variance = network.encode(x)
    telling = kl_divergence(mean, log_variance).mean(0).argsort(descending=True)[:latents]
    z = mean[0].repeat(len(telling), STEPS, 1)  # (rows, steps, latent_dim)
    for row, dimension in enumerate(telling):
        z[row, :, dimension] = torch.linspace(-REACH, REACH, STEPS, device=z.device)
    return Grid(network.decode(z.flatten(0, 1)), columns=STEPS)


@torch.no_grad()
def interpolation(network: Vae, x: Tensor) -> Grid:
    """Return images along the straight line between the codes of the first two images."""
    mean, _ = network.encode(x[:2])
    weight = torch.linspace(0, 1, STEPS, device=x.device)[:, None]
    return Grid(network.decode(torch.lerp(mean[:1], mean[-1:], weight)), columns=STEPS)
