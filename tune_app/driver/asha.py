"""ASHA's book: which trial goes on at a rung, and which rungs have earned the right to stop anybody.

Pure: it knows neither Ray nor the log, so the live sweep, a replay of the log and a simulation take the same decisions.
Stopping variant of Li et al. 2020 (arXiv:1810.05934) with one bracket; the trust of a rung is ours.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from math import ceil, isfinite
from typing import Literal, NamedTuple

Decision = Literal["continue", "stop"]


class Trust(NamedTuple):
    """A rung may stop trials once `trials` finished ones rank there as at the end with Kendall's tau-b >= `tau`."""

    trials: int
    tau: float


class Verdict(NamedTuple):
    decision: Decision
    trusted: bool | None
    """Whether the rung was trusted at this report; None at the last rung and between rungs."""


class RungBook:
    """Values recorded at each rung in the order of the log; lower is better.

    Raises ValueError on a value that is not finite: such a trial has failed and is never recorded.
    """

    def __init__(self, rungs: Sequence[float], reduction_factor: float, trust: Trust | None) -> None:
        self.rungs = list(rungs)
        self.reduction_factor = reduction_factor
        self.trust = trust
        self.recorded: dict[float, dict[str, float]] = {rung: {} for rung in rungs}
        self._tau: dict[float, tuple[int, int, float]] = {}

    def report(self, trial: str, kimg: float, value: float, *, protected: bool = False) -> Verdict:
        """Record `value` of `trial` at the rung `kimg` and decide; a `protected` trial (a baseline) always goes on."""
        trusted = None if kimg == self.rungs[-1] else self.trusted(kimg)
        self.record(trial, kimg, value)
        values = self.recorded[kimg]
        if trusted is None:
            return Verdict("stop", None)
        if protected or not trusted:
            return Verdict("continue", trusted)
        keep = ceil(len(values) / self.reduction_factor)
        best = sorted(values.values())[:keep]
        return Verdict("continue" if values[trial] <= best[-1] else "stop", trusted)

    def record(self, trial: str, kimg: float, value: float) -> None:
        """Record a value whose decision is known; the first one of a trial at a rung counts."""
        if not isfinite(value):
            raise ValueError(f"trial {trial}: the value at {kimg:g} kimg is {value}")
        self.recorded[kimg].setdefault(trial, value)

    def trusted(self, rung: float) -> bool:
        """Whether `rung` has proved to predict the last one, by the trials finished so far."""
        if self.trust is None:
            return True
        count, tau = self.agreement(rung)
        return count >= self.trust.trials and tau >= self.trust.tau

    def agreement(self, rung: float) -> tuple[int, float]:
        """How many finished trials have a value at `rung`, and Kendall's tau-b between it and the last rung."""
        final = self.recorded[self.rungs[-1]]
        seen, count, tau = self._tau.get(rung, (-1, 0, 0.0))
        if seen != len(final):  # a finished trial was at every rung before, so that nothing else changes it
            both = [trial for trial in final if trial in self.recorded[rung]]
            count, tau = len(both), _tau_b([self.recorded[rung][trial] for trial in both], [final[t] for t in both])
            self._tau[rung] = (len(final), count, tau)
        return count, tau


def _tau_b(left: Iterable[float], right: Iterable[float]) -> float:
    """Kendall's tau-b (Kendall 1945); -1 where it is undefined, so that a rung without spread is never trusted."""
    from scipy.stats import kendalltau  # half a second to import

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy warns of fewer than two values, which the caller's count rules out
        tau = float(kendalltau(list(left), list(right)).statistic)
    return tau if isfinite(tau) else -1.0
