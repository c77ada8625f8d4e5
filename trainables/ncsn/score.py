"""The score from the output of a backbone, the same for every backbone."""

from math import sqrt

from torch import Tensor, nn


class Score(nn.Module):
    """The score of the blurred data, s(x, sigma), from a backbone F(x, sigma) with in- and outputs of about unit size.

    Plain:         s = F(x, sigma) / sigma
    input_scaling: s = s_d F((x - m) / r, sigma) / (sigma r) - (x - m) / r^2,  r^2 = sigma^2 + s_d^2   (after EDM)

    m and s_d^2 are the data's mean and variance. With F = 0, s is the exact score of a Gaussian with this mean and
    variance, at any sigma.
    """

    def __init__(self, backbone: nn.Module, *, input_scaling: bool, mean: float, variance: float) -> None:
        super().__init__()
        self.backbone = backbone
        self.input_scaling, self.mean, self.variance = input_scaling, mean, variance

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        # x: (B, C, H, W); sigma: (B, 1, 1, 1)
        if not self.input_scaling:
            return self._raw(x, sigma) / sigma
        spread = (sigma**2 + self.variance).sqrt()
        scaled = (x - self.mean) / spread
        return (sqrt(self.variance) * self._raw(scaled, sigma) / sigma - scaled) / spread  # (B, C, H, W)

    def _raw(self, x: Tensor, sigma: Tensor) -> Tensor:
        raw: Tensor = self.backbone(x, sigma)
        return raw.float()  # under autocast the backbone returns bfloat16, which is too coarse to divide by sigma
