"""The part of a trial that is specific to Beta-VAE: network, losses, prior samples and three pictures."""

from __future__ import annotations

from collections.abc import Mapping
from math import log, log10
from typing import cast

import torch
from torch import Tensor, nn
from typing_extensions import override

from trainables.beta_vae import sampling as show
from trainables.beta_vae.loss import importance_weighted, kl_divergence, log_ratio, reconstruction, warmed_up
from trainables.beta_vae.network import Vae
from trainables.contract import Grid, ImageFacts, ImageModel, Judgement, Scalar
from trainables.data.shapes import FACTORS
from trainables.metrics.disentanglement import disentanglement
from trainables.metrics.likelihood import bits_per_dim, discretised_nats

ACTIVE = 0.01
JUDGED_AT_ONCE = 64
"""Images whose importance samples are decoded at once."""
IDENTIFIED = [index for index, name in enumerate(FACTORS) if name != "orientation"]
"""A rectangle or an ellipse looks the same after half a turn, so an image does not show its orientation."""


def of_images(params: Mapping[str, Scalar], images: ImageFacts) -> BetaVae:
    """Return a Beta-VAE for these images."""
    return BetaVae(params, shape=images.shape)


class BetaVae(ImageModel):
    """Beta-VAE (Higgins et al. 2017) for images of `shape` (C, H, W)."""

    def __init__(self, params: Mapping[str, Scalar], *, shape: tuple[int, ...] = (3, 32, 32)) -> None:
        channels, resolution, _ = shape
        self.beta, self.warmup_kimg = float(params["beta"]), float(params["kl_warmup_kimg"])
        self.constant_from_kimg = self.warmup_kimg
        self.likelihood = str(params["likelihood"])
        self._samples = int(params.get("k", 1)) if params.get("bound") == "iwae" else 0
        """Importance samples of an image, 0 for the ELBO."""
        self.network: nn.Module = Vae(
            int(params["latent_dim"]),
            int(params["width"]),
            resolution=resolution,
            channels=channels,
            network=int(params.get("network", 1)),
        )

    @override
    def loss(self, network: nn.Module, x: Tensor, kimg: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Return reconstruction + beta KL and their parts, (B,) each, summed over dimensions.

        With `bound: iwae` the loss is importance_weighted in loss.py, and the parts are means over the samples.
        """
        beta = warmed_up(self.beta, kimg, self.warmup_kimg)
        if self._samples:
            return self._importance_weighted(network, x, beta, generator)
        noise = torch.randn(len(x), _vae(network).latent_dim, generator=generator, device=x.device)
        logits, mean, log_variance = network(x, noise)
        recon = reconstruction(logits, x, self.likelihood)
        kl = kl_divergence(mean, log_variance).sum(1)
        return {"loss": recon + beta * kl, "recon_loss": recon, "kl_loss": kl, "beta_kl_loss": beta * kl}

    def _importance_weighted(
        self, network: nn.Module, x: Tensor, beta: float, generator: torch.Generator
    ) -> dict[str, Tensor]:
        logits, ratio = self._draws(network, x, generator)
        recon = torch.stack([reconstruction(one, x, self.likelihood) for one in logits])  # (k, B)
        kl = ratio.mean(0)
        loss = importance_weighted(recon, ratio, beta)
        return {"loss": loss, "recon_loss": recon.mean(0), "kl_loss": kl, "beta_kl_loss": beta * kl}

    def _draws(self, network: nn.Module, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the logits (k, B, C, H, W) of k codes of each image, and their log ratios (k, B)."""
        vae = _vae(network)
        mean, log_variance = vae.encode(x)
        noise = torch.randn(self._samples, *mean.shape, generator=generator, device=x.device)
        z = mean + (0.5 * log_variance).exp() * noise
        logits = vae.logits(z.flatten(0, 1))
        return logits.reshape(self._samples, len(x), *logits.shape[1:]), log_ratio(noise, z, log_variance)

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
        if self._samples:
            metrics |= self._bounds(network, x, generator, variance=float(errors[:half].mean()))
        if factors is not None:
            metrics |= disentanglement(mean.double().cpu().numpy(), factors[:, IDENTIFIED].numpy(), seed=0)
        return Judgement(metrics, [], torch.cat([vae.decode(part) for part in torch.split(mean, 256)]))

    def _bounds(
        self, network: nn.Module, x: Tensor, generator: torch.Generator, *, variance: float
    ) -> dict[str, float]:
        """Return `loss`, the bound that is trained, and `bpd_iwae`: it at the variance and on the images of `bpd`."""
        losses, nats = [], []
        for part in torch.split(x, JUDGED_AT_ONCE):
            logits, ratio = self._draws(network, part, generator)
            recon = torch.stack([reconstruction(one.double(), part.double(), self.likelihood) for one in logits])
            losses.append(importance_weighted(recon, ratio.double(), self.beta))
            each = torch.stack([discretised_nats(part, one.sigmoid(), variance) for one in logits]) + ratio  # (k, B)
            nats.append(log(len(each)) - torch.logsumexp(-each, 0))
        judged = torch.cat(nats)[len(x) // 2 :]
        bpd = bits_per_dim(float(judged.mean()), x[0].numel())
        return {"loss": float(torch.cat(losses).mean()), "bpd_iwae": bpd}

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
