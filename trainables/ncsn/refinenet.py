"""A compact RefineNet score network after Song & Ermon (2019): ELU, and instance norm that depends on the level."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class RefineNet(nn.Module):
    """F(x, sigma) on images whose sides are multiples of 4. sigma is replaced by the nearest trained level."""

    log_sigmas: Tensor

    def __init__(self, width: int, sigmas: Sequence[float], *, channels: int = 3) -> None:
        super().__init__()
        w, levels = width, len(sigmas)
        self.register_buffer("log_sigmas", torch.tensor(sigmas).log())
        self.conv_in = nn.Conv2d(channels, w, 3, padding=1)
        self.residuals = nn.ModuleList(
            [
                Residual(w, w, levels),
                Residual(w, 2 * w, levels, stride=2),
                Residual(2 * w, 2 * w, levels, stride=2),
                Residual(2 * w, 2 * w, levels, dilation=2),
            ]
        )
        self.refines = nn.ModuleList(
            [
                Refine([2 * w], 2 * w, levels),
                Refine([2 * w, 2 * w], 2 * w, levels),
                Refine([2 * w, 2 * w], w, levels),
                Refine([w, w], w, levels),
            ]
        )
        self.norm = LevelNorm(w, levels)
        self.conv_out = nn.Conv2d(w, channels, 3, padding=1)

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        level = self.level(sigma)
        x = self.conv_in(x)
        stages = []
        for residual in self.residuals:
            x = residual(x, level)
            stages.append(x)
        x = self.refines[0]([stages[-1]], level)  # (B, 2w, H/4, W/4)
        for refine, stage in zip(list(self.refines)[1:], reversed(stages[:-1]), strict=True):
            x = refine([stage, x], level)  # at last (B, w, H, W)
        out: Tensor = self.conv_out(F.elu(self.norm(x, level)))
        return out  # (B, C, H, W)

    def level(self, sigma: Tensor) -> Tensor:
        """Return the index of the trained level nearest to sigma by ratio, (B,)."""
        return (sigma.flatten().log()[:, None] - self.log_sigmas).abs().argmin(1)


class LevelNorm(nn.Module):
    """InstanceNorm++: instance norm that keeps the differences of channel means. Each level has its own three scales.

    gamma_l (x - mu) / std + alpha_l (mu - mean(mu)) / std(mu) + beta_l, mu the channel means of one image
    """

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(1 + 0.02 * torch.randn(levels, channels))
        self.alpha = nn.Parameter(1 + 0.02 * torch.randn(levels, channels))
        self.beta = nn.Parameter(torch.zeros(levels, channels))

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        means = x.mean((2, 3))  # (B, C)
        contrast = F.layer_norm(means, means.shape[1:])
        shift = self.alpha[level] * contrast + self.beta[level]
        return self.gamma[level][:, :, None, None] * F.instance_norm(x) + shift[:, :, None, None]


class Unit(nn.Module):
    """Level norm, ELU and convolution, the unit of all blocks."""

    def __init__(self, inputs: int, outputs: int, levels: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.norm = LevelNorm(inputs, levels)
        self.conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=dilation, dilation=dilation)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        out: Tensor = self.conv(F.elu(self.norm(x, level)))
        return out


class Residual(nn.Module):
    """Two units and a shortcut, with an optional stride or dilation."""

    def __init__(self, inputs: int, outputs: int, levels: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.first = Unit(inputs, outputs, levels, stride=stride, dilation=dilation)
        self.second = Unit(outputs, outputs, levels, dilation=dilation)
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride=stride)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        out: Tensor = self.shortcut(x) + self.second(self.first(x, level), level)
        return out


class Refine(nn.Module):
    """Adapt each input, fuse them at the resolution of the first, pool in a chain, and adapt again."""

    def __init__(self, inputs: Sequence[int], outputs: int, levels: int) -> None:
        super().__init__()
        self.adapt = nn.ModuleList([Residual(channels, channels, levels) for channels in inputs])
        self.fuse = nn.ModuleList([Unit(channels, outputs, levels) for channels in inputs])
        self.pool = nn.ModuleList([Unit(outputs, outputs, levels) for _ in range(2)])
        self.out = Residual(outputs, outputs, levels)

    def forward(self, inputs: Sequence[Tensor], level: Tensor) -> Tensor:
        size = inputs[0].shape[2:]
        x = torch.zeros((), device=level.device)
        for value, adapt, fuse in zip(inputs, self.adapt, self.fuse, strict=True):
            fused = fuse(adapt(value, level), level)
            x = x + (fused if fused.shape[2:] == size else F.interpolate(fused, size, mode="bilinear"))
        path = x = F.elu(x)
        for unit in self.pool:  # chained residual pooling: each link sees a wider neighbourhood
            path = unit(F.avg_pool2d(path, 5, stride=1, padding=2), level)
            x = x + path
        out: Tensor = self.out(x, level)
        return out
