"""Flow matching on straight paths (Lipman et al. 2023; Liu et al. 2023, rectified flow)."""

import torch
from torch import Tensor, nn

from trainables.plugin import ImageFacts, ImageModel, Parameter, Scalar, image_model


def _block(width: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(8, width), nn.SiLU())


class Velocity(nn.Module):
    """A small U-Net v(x_t, t): two resolutions, and t as an extra channel."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Conv2d(channels + 1, width, 3, padding=1), nn.SiLU())
        self.down = nn.Sequential(nn.Conv2d(width, 2 * width, 4, 2, 1), nn.SiLU(), _block(2 * width))
        self.up = nn.Sequential(_block(2 * width), nn.ConvTranspose2d(2 * width, width, 4, 2, 1), nn.SiLU())
        self.tail = nn.Sequential(_block(2 * width), nn.Conv2d(2 * width, channels, 3, padding=1))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        h = self.head(torch.cat([x, t[:, None, None, None].expand_as(x[:, :1])], 1))
        return self.tail(torch.cat([h, self.up(self.down(h))], 1))  # (B, C, H, W)


class FlowMatching(ImageModel):
    """Images x_1, noise x_0, x_t = (1 - t) x_0 + t x_1; the network learns x_1 - x_0."""

    def __init__(self, params: dict[str, Scalar], images: ImageFacts) -> None:
        self.shape, self.mean, self.std = images.shape, images.mean, images.variance**0.5
        self.late = params["late"]
        self.network = Velocity(images.shape[0], params["width"])

    def loss(self, network: nn.Module, x: Tensor, kimg: float, generator: torch.Generator) -> Tensor:
        data = (x - self.mean) / self.std
        noise = torch.randn(x.shape, generator=generator, device=x.device)
        t = torch.rand(len(x), generator=generator, device=x.device) ** (1 / self.late)
        at = t[:, None, None, None]
        return (network((1 - at) * noise + at * data, t) - (data - noise)).square().flatten(1).mean(1)  # (B,)

    def sample(
        self, network: nn.Module, count: int, sampling: dict[str, Scalar], nfe: int, generator: torch.Generator
    ) -> Tensor:
        x = torch.randn(count, *self.shape, generator=generator, device=generator.device)
        heun = sampling["solver"] == "heun" and nfe > 1
        steps = nfe // 2 if heun else nfe
        for step in range(steps):  # dx/dt = v(x, t) from 0 to 1
            t = torch.full((count,), step / steps, device=x.device)
            v = network(x, t)
            if heun:
                v = (v + network(x + v / steps, t + 1 / steps)) / 2
            x = x + v / steps
        return x * self.std + self.mean


own = {
    "width": Parameter(32, "channels at full resolution, a multiple of 8", low=8, high=512),
    "late": Parameter(1.0, "1: uniform times; above 1: more times near the image", above=0, high=10),
    "solver": Parameter("euler", "solver of the ODE", choices=("euler", "heun"), stage="sampling"),
}
MODELS = {"flow_matching": image_model(FlowMatching, own, side_multiple=2)}
