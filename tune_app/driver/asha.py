"""ASHA: which trials continue at a rung, and which rungs are trusted to stop trials.

This file uses neither Ray nor the log, so a live sweep, a replay of the log and a simulation take the same decisions.
The algorithm is the stopping variant of Li et al. 2020 (arXiv:1810.05934) with one bracket. Trusted rungs are our own.
"""

from collections.abc import Sequence
from math import ceil, isfinite
from typing import NamedTuple

from tune_app.driver.trust import SequentialTest, Threshold
from tune_app.experiment.event_fields import Decision


class Verdict(NamedTuple):
    """Decision on one report at a rung."""

    decision: Decision
    trusted: bool | None
    """True if the rung was trusted at this report; None at the last rung."""


class RungBook:
    """Values recorded at each rung, in the order of the log. Lower is better.

    Raise ValueError for a value that is not finite: such a trial has failed and must not be recorded.
    """

    def __init__(
        self, rungs: Sequence[float], reduction_factor: float, trust: SequentialTest | Threshold | None
    ) -> None:
        self.rungs = list(rungs)
        self.reduction_factor = reduction_factor
        self.recorded: dict[float, dict[str, float]] = {rung: {} for rung in rungs}
        self._judges = {rung: trust.judge() for rung in rungs} if trust else {}
        self._trusted: dict[float, bool] = {}
        self._finished_then: dict[float, int] = {}

    def report(self, trial: str, kimg: float, value: float, *, protected: bool = False) -> Verdict:
        """Record a value at the rung `kimg` and decide. A protected trial (a baseline) always continues."""
        trusted = None if kimg == self.rungs[-1] else self.trusted(kimg)
        self.record(trial, kimg, value)
        if trusted is None:
            return Verdict("stop", None)
        if protected or not trusted:
            return Verdict("continue", trusted)
        values = self.recorded[kimg]
        keep = ceil(len(values) / self.reduction_factor)
        worst_kept = sorted(values.values())[keep - 1]
        return Verdict("continue" if values[trial] <= worst_kept else "stop", trusted)

    def record(self, trial: str, kimg: float, value: float) -> None:
        """Record a value whose decision is known. The first value of a trial at a rung counts."""
        if not isfinite(value):
            raise ValueError(f"trial {trial}: the value at {kimg:g} kimg is {value}")
        self.recorded[kimg].setdefault(trial, value)

    def trusted(self, rung: float) -> bool:
        """Return True if the trials finished so far show that `rung` predicts the last rung."""
        if not self._judges:
            return True
        final = self.recorded[self.rungs[-1]]
        # A finished trial already has a value at every rung, so only another finished trial changes the result.
        if self._finished_then.get(rung) != len(final):
            values = self.recorded[rung]
            pairs = [(values[trial], end) for trial, end in final.items() if trial in values]
            self._finished_then[rung] = len(final)
            self._trusted[rung] = self._judges[rung].trusts([early for early, _ in pairs], [end for _, end in pairs])
        return self._trusted[rung]
