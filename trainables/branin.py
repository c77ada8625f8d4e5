"""Multi-fidelity Branin: a run with a known optimum that trains nothing and needs no torch.

Value at kimg k of max_kimg K:

    branin(x1, x2) + bias * (1 - k / K)^2 * (1 + sin(x1 + x2)) / 2

The bias differs from point to point, so early values mislead, and falls to 0 at K. Branin itself (Dixon & Szego 1978)
is 0.397887 at (-pi, 12.275), (pi, 2.275) and (9.42478, 2.475).
"""

import time
from math import cos, pi, sin
from typing import Any

from trainables.contract import Evaluation, RunSpec


def branin(x1: float, x2: float) -> float:
    """Return Branin's function on [-5, 10] x [0, 15]."""
    bowl = x2 - 5.1 / (4 * pi**2) * x1**2 + 5 / pi * x1 - 6
    return bowl**2 + 10 * (1 - 1 / (8 * pi)) * cos(x1) + 10


class Branin:
    """A Run that sleeps `step_seconds` for each report instead of training."""

    def __init__(self, spec: RunSpec) -> None:
        self._x1, self._x2, self._bias, self._seconds = (
            float(spec.params[name]) for name in ("x1", "x2", "bias", "step_seconds")
        )
        self._end = spec.max_kimg * 1000
        self._images = 0

    def train(self, images: int) -> dict[str, float]:
        time.sleep(self._seconds)
        self._images += images
        return {"loss": self._value()}

    def evaluate(self, *, final: bool, sample_metrics: Any = None, spec: RunSpec | None = None) -> Evaluation:  # noqa: ARG002
        return Evaluation({"value": self._value()})

    def state(self) -> dict[str, Any]:
        return {"images": self._images}

    def load_state(self, state: dict[str, Any]) -> None:
        self._images = state["images"]

    def _value(self) -> float:
        missing = 1 - self._images / self._end
        return branin(self._x1, self._x2) + self._bias * missing**2 * (1 + sin(self._x1 + self._x2)) / 2


def build(spec: RunSpec) -> Branin:
    return Branin(spec)
