"""The part of a trial that is specific to Beta-VAE: network, losses, prior samples and three pictures."""

from collections.abc import Mapping
from math import log10
from typing import cast

import torch
from torch import Tensor, nn
from typing_extensions import override

from trainables import data
from trainables.beta_vae import sampling as show
from trainables.beta_vae.loss import kl_divergence, reconstruction, warmed_up
from trainables.beta_vae.network import Vae
from trainables.contract import Grid, ImageModel, Judgement, Run, RunSpec, Scalar
from trainables.data.shapes import FACTORS
from trainables.metrics.disentanglement import disentanglement
from trainables.metrics.likelihood import bits_per_dim, discretised_nats
from trainables.training import ImageRun, seeded_weights

ACTIVE = 0.01
IDENTIFIED = [index for index, name in enumerate(FACTORS) if name != "orientation"]
"""A rectangle or an ellipse looks the same after half a turn, so an image does not show its orientation."""


def build(spec: RunSpec) -> Run:
    """Return the run of a Beta-VAE spec."""
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
            int(params["latent_dim"]),
            int(params["width"]),
            resolution=resolution,
            channels=channels,
            network=int(params.get("network", 1)),
        )

    @override
    def loss(self, network: nn.Module, x: Tensor, kimg: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Return reconstruction + beta KL and their parts, (B,) each, summed over dimensions."""
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
        """Return `count` images (count, C, H, W). Each costs one network evaluation."""
        return show.sample_prior(_vae(network), count, generator)

    @override
    def settled(self, sampling: Mapping[str, Scalar], nfe: int) -> dict[str, Scalar]:
        """Return the setting unchanged: a sample is one pass of the decoder."""
        return dict(sampling)

    @override
    def judge(self, network: nn.Module, x: Tensor, factors: Tensor | None, generator: torch.Generator) -> Judgement:
        """Return the negative ELBO with KL weight 1 as `bpd`, whatever beta is, and metrics that depend on beta.

        The decoder's variance is the squared error per pixel (Rybkin et al. 2021, sigma-VAE). `beta_eff` is beta in
        units of that variance: beta / (2 MSE), 1 for a calibrated ELBO. A unit is active if the variance of its mean
        over images is above 0.01 (Burda et al. 2016).
        """
        vae = _vae(network)
        mean, log_variance = vae.encode(x)
        z = mean + (0.5 * log_variance).exp() * torch.randn(mean.shape, generator=generator, device=x.device)
        logits = torch.cat([vae.logits(part) for part in torch.split(z, 256)])
        decoded, half = logits.sigmoid(), len(x) // 2
        errors = (decoded - x).square().double().flatten(1).mean(1)  # (N,)
        kl = kl_divergence(mean.double(), log_variance.double()).sum(1)
        nats = discretised_nats(x[half:], decoded[half:], float(errors[:half].mean())) + kl[half:]
        mse = float(errors.mean())
        recon = float(reconstruction(logits.double(), x.double(), self.likelihood).mean())
        weighted = self.beta * float(kl.mean())
        metrics = {
            "loss": recon + weighted,
            "recon_loss": recon,
            "kl_loss": float(kl.mean()),
            "beta_kl_loss": weighted,
            "bpd": bits_per_dim(float(nats.mean()), x[0].numel()),
            "recon_mse": mse,
            "psnr": -10 * log10(max(mse, 1e-12)),
            "kl": float(kl.mean()),
            "active_units": float((mean.double().var(0) > ACTIVE).sum()),
        }
        if self.likelihood == "gaussian":
            metrics["beta_eff"] = self.beta / (2 * max(mse, 1e-12))
        if factors is not None:
            metrics |= disentanglement(mean.double().cpu().numpy(), factors[:, IDENTIFIED].numpy(), seed=0)
        return Judgement(metrics, [])

    @override
    def pictures(self, network: nn.Module, x: Tensor, generator: torch.Generator) -> dict[str, Grid]:
        """Return reconstructions, a latent traversal and an interpolation of held-out images."""
        vae = _vae(network)
        return {
            "reconstructions": show.reconstructions(vae, x),
            "traversal": show.traversal(vae, x),
            "interpolation": show.interpolation(vae, x),
        }


def _vae(network: nn.Module) -> Vae:
    return cast(Vae, network)  # the contract passes our `network` or its averaged copy
