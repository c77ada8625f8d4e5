"""The part of a trial that is specific to NCSN: score network, loss, and samples by annealed Langevin dynamics."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import override

from trainables.catalog import takes_any_level
from trainables.contract import Grid, ImageFacts, ImageModel, Judgement, Scalar
from trainables.metrics.likelihood import bits_per_dim, discretised_nats
from trainables.ncsn.likelihood import ladder_nats, ladder_nats_continuous, prior_nats
from trainables.ncsn.loss import denoised, dsm_loss, edm_weight
from trainables.ncsn.noise_levels import geometric
from trainables.ncsn.probability_flow import Flow, plan_flow, solve
from trainables.ncsn.refinenet import RefineNet
from trainables.ncsn.resunet import ResUNet
from trainables.ncsn.sampling import Schedule, Watch, ignore, langevin, plan
from trainables.ncsn.score import Score
from trainables.ncsn.unet import UNet

CHAINS = {"cpu": 64, "cuda": 1024}
"""Chains that run at once: as many as fit a core's cache, or as fill a GPU."""


def of_images(params: Mapping[str, Scalar], images: ImageFacts) -> Ncsn:
    """Return an NCSN for these images."""
    return Ncsn(params, mean=images.mean, variance=images.variance, shape=images.shape)


LEVELS_SHOWN, LEVELS_AN_IMAGE = 16, 4


class Ncsn(ImageModel):
    """Noise conditional score network (Song & Ermon 2019) for images of `shape` (C, H, W)."""

    constant_from_kimg = 0.0

    def __init__(
        self, params: Mapping[str, Scalar], *, mean: float, variance: float, shape: tuple[int, ...] = (3, 32, 32)
    ) -> None:
        self.shape, self.mean, self.variance = shape, mean, variance
        self.sigmas = geometric(
            float(params["sigma_begin"]), float(params["sigma_end"]), levels=int(params["num_scales"])
        )
        self._levels = torch.tensor(self.sigmas)
        self._any_level = takes_any_level(params)
        self._weighting = params.get("weighting", "sigma2")
        self.network: nn.Module = Score(
            _backbone(params, self.sigmas, shape=shape),
            input_scaling=bool(params["input_scaling"]),
            mean=mean,
            variance=variance,
        )

    @override
    def loss(self, network: nn.Module, x: Tensor, kimg: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the weighted denoising loss at a random level per image, summed over dimensions, (B,)."""
        sigmas = self._levels_on(x.device)
        levels = torch.randint(len(sigmas), (len(x), 1, 1, 1), generator=generator, device=x.device)
        noise = torch.randn(x.shape, generator=generator, device=x.device)
        loss = dsm_loss(network, x, sigmas[levels], noise)
        if self._weighting == "edm":
            loss = loss * edm_weight(sigmas[levels].flatten(), self.variance)
        return {"loss": loss}

    def _levels_on(self, device: torch.device) -> Tensor:
        """Return the noise levels on a device, where they stay: a copy in each step would make the GPU wait."""
        if self._levels.device != device:
            self._levels = self._levels.to(device)
        return self._levels

    @override
    def judge(self, network: nn.Module, x: Tensor, factors: Tensor | None, generator: torch.Generator) -> Judgement:
        """Return the bound of likelihood.py in bits per dimension: `bpd` on our levels, `bpd_ct` for many levels."""
        fitted, judged = x.tensor_split(2)
        dimensions, last = x[0].numel(), self.sigmas[-1]
        losses = self._losses(network, judged, generator)
        guess = denoised(network, fitted, last, generator)
        variance = float((guess.float() - fitted).square().mean(dtype=torch.float64))
        decoded = float(discretised_nats(judged, denoised(network, judged, last, generator), variance).mean())
        ends = prior_nats(self.sigmas[0], self.variance, dimensions) + decoded
        metrics = {
            "loss": fmean(losses),
            "bpd": bits_per_dim(ends + ladder_nats(self.sigmas, losses), dimensions),
            "bpd_ct": bits_per_dim(ends + ladder_nats_continuous(self.sigmas, losses), dimensions),
        }
        shown = range(0, len(losses), -(-len(losses) // LEVELS_SHOWN))
        return Judgement(metrics, [{"sigma": self.sigmas[i], "loss": losses[i]} for i in shown])

    def _losses(self, network: nn.Module, x: Tensor, generator: torch.Generator) -> list[float]:
        """Return the mean denoising loss at each level. Each image is used at about LEVELS_AN_IMAGE levels.

        The control variate 1/2 |z|^2 - D / 2 (zero mean) is subtracted, scaled by the share of the noise that no
        network can see, to reduce variance.
        """
        count, dimensions = len(self.sigmas), x[0].numel()
        noise = torch.randn(x.shape, generator=generator, device=x.device)
        surplus = 0.5 * (noise.square().flatten(1).sum(1) - dimensions)  # (B,)
        sums, seen = torch.zeros(count, dtype=torch.float64), torch.zeros(count, dtype=torch.float64)
        sigmas = self._levels_on(x.device)
        rows = torch.arange(len(x), device=x.device)
        rounds = min(count, LEVELS_AN_IMAGE)
        for turn in range(rounds):
            levels = (rows * count // len(x) + turn * count // rounds) % count  # each level for as many images
            for part in torch.split(rows, CHAINS.get(x.device.type, 64)):
                sigma = sigmas[levels[part]][:, None, None, None]
                loss = dsm_loss(network, x[part], sigma, noise[part]).double()
                unseen = self.variance / (self.variance + sigma.flatten().double() ** 2)
                where = levels[part].cpu()
                sums.index_add_(0, where, (loss - unseen * surplus[part].double()).cpu())
                seen.index_add_(0, where, torch.ones(len(part), dtype=torch.float64))
        known = seen.nonzero().flatten()  # with more levels than images, interpolate: the loss is smooth in the level
        means = np.interp(np.arange(count), known.numpy(), (sums[known] / seen[known]).numpy())
        return [float(mean) for mean in means]

    @override
    def sample(
        self,
        network: nn.Module,
        count: int,
        sampling: Mapping[str, Scalar],
        nfe: int,
        generator: torch.Generator,
        watch: Watch = ignore,
    ) -> Tensor:
        """Return `count` images (count, C, H, W), not clamped, with at most `nfe` network evaluations each.

        Call `watch` with the images of a batch before each step.
        """
        schedule = self.flow(sampling, nfe) if sampling.get("sampler") == "heun" else self.schedule(sampling, nfe)
        chains = CHAINS.get(generator.device.type, 64)
        batches = []
        for size in [chains] * (count // chains) + [count % chains] * (count % chains > 0):
            start = self._start(size, str(sampling.get("init", "data")), schedule.sigmas[0], generator)
            if isinstance(schedule, Flow):
                batches.append(solve(network, start, schedule, watch))
            else:
                batches.append(langevin(network, start, schedule, generator, watch))
        return torch.cat(batches)

    def _start(self, count: int, init: str, sigma: float, generator: torch.Generator) -> Tensor:
        """Return the first state of `count` chains, (count, C, H, W). The largest noise level is `sigma`."""
        if init == "uniform":
            return torch.rand(count, *self.shape, generator=generator, device=generator.device)
        z = torch.randn(count, *self.shape, generator=generator, device=generator.device)
        return z if init == "standard" else self.mean + (sigma**2 + self.variance) ** 0.5 * z

    @override
    def settled(self, sampling: Mapping[str, Scalar], nfe: int) -> dict[str, Scalar]:
        """Return the setting with its ladder, levels, steps, raw step_lr and network evaluations of an image."""
        if sampling.get("sampler") == "heun":
            return {**sampling, "nfe": self.flow(sampling, nfe).nfe}
        chain = self.schedule(sampling, nfe)
        used = {"step_lr": chain.step_lr, "steps_per_level": chain.steps, "levels": len(chain.sigmas)}
        return {**sampling, "ladder": self._ladder(sampling), **used, "nfe": chain.nfe}

    @override
    def pictures(self, network: nn.Module, x: Tensor, generator: torch.Generator) -> dict[str, Grid]:
        """Return no pictures: the samples are enough."""
        return {}

    def schedule(self, sampling: Mapping[str, Scalar], nfe: int) -> Schedule:
        """Return the Langevin schedule of one sampling setting."""
        return plan(
            self.sigmas,
            nfe=nfe,
            ladder=self._ladder(sampling),
            step_size=float(sampling.get("step_size", 5.0)),
            step_lr=float(sampling.get("step_lr", 0.0)),
            steps_per_level=int(sampling.get("steps_per_level", 0)),
            denoise=bool(sampling.get("denoise", True)),
        )

    def flow(self, sampling: Mapping[str, Scalar], nfe: int) -> Flow:
        """Return the steps of the probability-flow ODE."""
        return plan_flow(self.sigmas[0], self.sigmas[-1], nfe=nfe, denoise=bool(sampling.get("denoise", True)))

    def _ladder(self, sampling: Mapping[str, Scalar]) -> str:
        """Return the ladder of the setting. A network that knows only its trained levels cannot take a free one."""
        ladder = str(sampling.get("ladder", "free"))
        return "own" if ladder == "free" and not self._any_level else ladder


def _backbone(params: Mapping[str, Scalar], sigmas: list[float], *, shape: tuple[int, ...]) -> nn.Module:
    channels, side, _ = shape
    width, groups, conditioning = int(params["width"]), int(params["groups"]), str(params["conditioning"])
    dropout = float(params.get("dropout", 0.0))
    if params["arch"] == "refinenet":
        return RefineNet(width, sigmas, channels=channels)
    if params["arch"] == "resunet":
        return ResUNet(width, side=side, groups=groups, conditioning=conditioning, channels=channels, dropout=dropout)
    return UNet(
        width,
        groups=groups,
        conditioning=conditioning,
        channels=channels,
        network=int(params.get("network", 1)),
        dropout=dropout,
    )
