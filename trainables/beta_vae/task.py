"""What Beta-VAE adds to a trial: its network, its loss in parts, samples of the prior and three pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from typing_extensions import override

from trainables import data
from trainables.beta_vae import sampling as show
from trainables.beta_vae.loss import kl_divergence, reconstruction, warmed_up
from trainables.beta_vae.network import Vae
from trainables.model import Grid, ImageModel, Run, RunSpec, Scalar
from trainables.training import ImageRun, seeded_weights


def build(spec: RunSpec) -> Run:
    """The run of a Beta-VAE spec."""
    images = data.load(spec.data)
    with seeded_weights(spec.seed):
        model = BetaVae(spec.params, shape=tuple(images.train.shape[1:]))
    return ImageRun(spec, model, images)


class BetaVae(ImageModel):
    """Beta-VAE (Higgins et al. 2017) for images of `shape` (C, H, W)."""

    def __init__(self, params: Mapping[str, Scalar], *, shape: tuple[int, ...] = (3, 32, 32)) -> None:
        channels, resolution, _ = shape
        self.beta, self.warmup_kimg = float(params["beta"]), float(params["kl_warmup_kimg"])
        self.likelihood = str(params["likelihood"])
        self.network: nn.Module = Vae(
            int(params["latent_dim"]), int(params["width"]), resolution=resolution, channels=channels
        )

    @override
    def loss(self, network: nn.Module, x: Tensor, kimg: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Reconstruction + beta KL and their parts, (B,) each, summed over dimensions."""
        noise = torch.randn(len(x), _vae(network).latent_dim, generator=generator, device=x.device)
        logits, mean, log_variance = network(x, noise)
        recon = reconstruction(logits, x, self.likelihood)
        kl = kl_divergence(mean, log_variance).sum(1)
        weighted = warmed_up(self.beta, kimg, self.warmup_kimg) * kl
        return {"loss": recon + weighted, "recon_loss": recon, "kl_loss": kl, "beta_kl_loss": weighted}

    @override
    def sample(
        self, network: nn.Module, count: int, sampling: Mapping[str, Scalar], nfe: int, generator: torch.Generator
    ) -> Tensor:
        """`count` images (count, C, H, W) for one network evaluation each."""
        return show.sample_prior(_vae(network), count, generator)

    @override
    def settled(self, sampling: Mapping[str, Scalar], nfe: int) -> dict[str, Scalar]:
        """The setting itself: a sample is one pass of the decoder."""
        return dict(sampling)

    @override
    def levels(self, network: nn.Module, x: Tensor, generator: torch.Generator) -> list[dict[str, Scalar]]:
        """None: there is no noise."""
        return []

    @override
    def pictures(self, network: nn.Module, x: Tensor, generator: torch.Generator) -> dict[str, Grid]:
        """Reconstructions, a latent traversal and an interpolation of held-out images."""
        vae = _vae(network)
        return {
            "reconstructions": show.reconstructions(vae, x),
            "traversal": show.traversal(vae, x),
            "interpolation": show.interpolation(vae, x),
        }


def _vae(network: nn.Module) -> Vae:
    return cast(Vae, network)  # the contract hands back what `network` is, or an average of it
