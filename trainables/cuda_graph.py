"""A training step recorded as a CUDA graph: one launch instead of hundreds, which small networks wait for."""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

Step = Callable[[Tensor], Tensor]
"""A training step on the images with the given indices (B,). Return the sum of each loss, on the device."""


class RecordedStep:
    """Replays one step on new indices. It reads and writes the tensors that the step used when it was recorded."""

    def __init__(self, step: Step, indices: Tensor, generator: torch.Generator) -> None:
        """Record `step`, which must have run before. Raise RuntimeError if it cannot be recorded.

        Recording changes no tensor and draws nothing. Each replay draws new numbers from `generator`.
        """
        self._indices = indices.clone()
        self._graph = torch.cuda.CUDAGraph()
        self._graph.register_generator_state(generator)
        with torch.cuda.graph(self._graph):
            self._losses = step(self._indices)

    def __call__(self, indices: Tensor) -> Tensor:
        """Take the step and return its losses. The next call overwrites them."""
        self._indices.copy_(indices)
        self._graph.replay()
        return self._losses


@cache
def _side_stream() -> torch.cuda.Stream:
    """Return one stream for all runs of the process: libraries keep a workspace for each stream that they have seen."""
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]


def on_side_stream(step: Step, indices: Tensor) -> Tensor:
    """Take a step in a stream of its own, as CUDA demands of the steps before a recording."""
    stream = _side_stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        losses = step(indices)
    torch.cuda.current_stream().wait_stream(stream)
    return losses
