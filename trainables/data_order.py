"""The order in which a run sees its training images."""

from typing import Any

import torch
from torch import Tensor


class DataOrder:
    """Every image once per epoch in a new random order, as one endless stream, so that every batch is full."""

    def __init__(self, size: int, seed: int, device: torch.device | str = "cpu") -> None:
        self._size, self._device = size, device
        self._generator = torch.Generator().manual_seed(seed)
        self._shuffle()

    def take(self, count: int) -> Tensor:
        """Return the next `count` indices, (count,)."""
        parts = []
        while count > 0:
            if self._position == self._size:
                self._shuffle()
            part = self._order[self._position : self._position + count]
            self._position += len(part)
            count -= len(part)
            parts.append(part)
        return torch.cat(parts)

    def state(self) -> dict[str, Any]:
        return {"epoch": self._epoch, "position": self._position}

    def load_state(self, state: dict[str, Any]) -> None:
        self._generator.set_state(state["epoch"])
        self._shuffle()
        self._position = int(state["position"])

    def _shuffle(self) -> None:
        self._epoch = self._generator.get_state()  # the order follows from it: 5 kB in a checkpoint instead of 400
        # the whole epoch goes to the device at once, so that no step copies from the host
        self._order = torch.randperm(self._size, generator=self._generator).to(self._device)
        self._position = 0
