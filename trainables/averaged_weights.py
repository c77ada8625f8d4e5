"""The exponential moving average of a network's weights."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Ema:
    """Exponentially averaged weights. Buffers are copied, because BatchNorm's statistics are averages already."""

    def __init__(self, network: nn.Module, decay: float, *, warmup: bool) -> None:
        self.network = deepcopy(network).requires_grad_(False)
        self.steps = 0
        self._decay, self._warmup = decay, warmup
        device = next(network.parameters()).device
        self._share = torch.zeros((), device=device) if device.type == "cuda" else None
        """1 - d of the current step on a GPU, where a recorded step reads it."""
        self._share_set = 0.0

    def next_step(self) -> None:
        """Count a step. Call it before `update`."""
        self.steps += 1
        if self._share is not None and self._share_set != 1 - self.decay():
            self._share_set = 1 - self.decay()
            self._share.fill_(self._share_set)

    def update(self, network: nn.Module) -> None:
        """Set average <- d average + (1 - d) weights with d = min(decay, (1 + t) / (10 + t)) at step t = 1, 2, ..."""
        averages: list[Tensor] = list(self.network.parameters())
        weights: list[Tensor] = list(network.parameters())
        if self._share is None:
            get_ema_multi_avg_fn(self.decay())(averages, weights, self.steps)  # type: ignore[no-untyped-call]
        else:
            with torch.no_grad():
                apart = list(torch._foreach_sub(weights, averages))
                torch._foreach_mul_(apart, self._share)
                torch._foreach_add_(averages, apart)
        if kept := list(self.network.buffers()):
            torch._foreach_copy_(kept, list(network.buffers()))

    def decay(self) -> float:
        """Return the decay of the current step. The warm-up keeps the random start from dominating at early rungs."""
        ramp = (1 + self.steps) / (10 + self.steps)
        return min(self._decay, ramp) if self._warmup else self._decay

    def state(self) -> dict[str, Any]:
        return {"network": self.network.state_dict(), "steps": self.steps}

    def load_state(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.steps = int(state["steps"])
