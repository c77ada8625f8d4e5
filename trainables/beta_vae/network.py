"""The convolutional variational autoencoder of the reference."""

import torch
from torch import Tensor, nn

from trainables.beta_vae.layers import Down, Up

HIDDEN = 512
SLOPE = 0.2
"""Slope of LeakyReLU below 0."""


class Vae(nn.Module):
    """Encoder to mean and log variance of q(z | x), and decoder to logits. Image sides are multiples of 16.

    `network` 1 is that of version 0.1, which had ReLU after the two linear layers of the decoder. `network` 0 is the
    reference before it had normalisation, with ReLU everywhere and smaller hidden layers.
    """

    def __init__(self, latent_dim: int, width: int, *, resolution: int, channels: int = 3, network: int = 2) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        w, side = width, resolution // 16
        flat, hidden = 8 * w * side**2, HIDDEN if network else 8 * w
        normed = network > 0
        self.encoder = nn.Sequential(
            *_down(channels, w, normed=normed),
            *_down(w, 2 * w, normed=normed),
            *_down(2 * w, 4 * w, normed=normed),
            *_down(4 * w, 8 * w, normed=normed),
            nn.Flatten(),
            nn.Linear(flat, hidden),
            nn.LeakyReLU(SLOPE) if normed else nn.ReLU(),
        )
        self.mean = nn.Linear(hidden, latent_dim)
        self.log_variance = nn.Linear(hidden, latent_dim)
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, hidden),
            _after_linear(network),
            nn.Linear(hidden, flat),
            _after_linear(network),
            nn.Unflatten(1, (8 * w, side, side)),
            *_up(8 * w, 4 * w, normed=normed),
            *_up(4 * w, 2 * w, normed=normed),
            *_up(2 * w, w, normed=normed),
            Up(w, channels),
        )

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of q(z | x), (B, latent_dim) each."""
        hidden = self.encoder(x)
        return self.mean(hidden).float(), self.log_variance(hidden).float()

    def logits(self, z: Tensor) -> Tensor:
        """Return the logits of the image, (B, C, H, W)."""
        logits: Tensor = self.decoder(z)
        return logits.float()

    def decode(self, z: Tensor) -> Tensor:
        """Return images in (0, 1) for codes (B, latent_dim)."""
        return self.logits(z).sigmoid()

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the logits decoded from z = mean + std noise, and the mean and log variance of q(z | x)."""
        mean, log_variance = self.encode(x)
        z = mean + torch.exp(0.5 * log_variance) * noise
        return self.logits(z), mean, log_variance


def _after_linear(network: int) -> nn.Module:
    return nn.LeakyReLU(SLOPE) if network == 2 else nn.ReLU()


def _down(inputs: int, outputs: int, *, normed: bool) -> list[nn.Module]:
    conv = Down(inputs, outputs)
    return [conv, nn.BatchNorm2d(outputs), nn.LeakyReLU(SLOPE)] if normed else [conv, nn.Identity(), nn.ReLU()]


def _up(inputs: int, outputs: int, *, normed: bool) -> list[nn.Module]:
    conv = Up(inputs, outputs)
    return [conv, nn.BatchNorm2d(outputs) if normed else nn.Identity(), nn.ReLU()]
