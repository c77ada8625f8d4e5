"""Policies of a sweep, for simulations: which trial stops, pauses or continues at a rung, and which one comes next.

Rungs are shares of the full length, and lower values are better. A policy decides from the values at the rungs alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import ceil, inf
from typing import Literal, TypeAlias

from tune_app.driver.asha import RungBook
from tune_app.driver.trust import SequentialTest, Threshold, allowed_p, p_value

Decision: TypeAlias = Literal["continue", "stop", "pause"]
Trust: TypeAlias = SequentialTest | Threshold | None
RUNGS = (1 / 27, 1 / 9, 1 / 3, 1.0)
FACTOR = 3.0
LAST = len(RUNGS) - 1


@dataclass
class Policy:
    """Run every trial to its end. `values` has the values of each trial at the rungs that it has reached."""

    values: dict[int, list[float]] = field(default_factory=dict)
    first: int = LAST
    """The first rung at which a trial is evaluated."""

    def report(self, trial: int, rung: int, value: float) -> Decision:
        """Record a value, and decide what happens to the trial."""
        self.values.setdefault(trial, []).append(value)
        return "stop" if rung == LAST else self.decide(trial, rung)

    def decide(self, trial: int, rung: int) -> Decision:
        """Decide at a rung before the last."""
        del trial, rung
        return "continue"

    def resumed(self, paused: Mapping[int, int], *, more: bool) -> int | None:
        """Return the paused trial that takes a free slot, or None for a new one. `more`: new ones may start.

        `paused` has the rung at which each trial waits.
        """
        return None if more or not paused else self.best(paused)

    def best(self, paused: Mapping[int, int]) -> int:
        """Return the trial that has come farthest, and among those the one with the best value there."""
        return min(paused, key=lambda trial: (-paused[trial], self.values[trial][-1]))

    def at(self, rung: int) -> dict[int, float]:
        """Return the values at a rung, by trial."""
        return {
            trial: values[rung - self.first] for trial, values in self.values.items() if len(values) > rung - self.first
        }

    def is_among(self, trial: int, rung: int, share: float) -> bool:
        """Return True if a trial is among the best `share` of those that have reached a rung."""
        values = self.at(rung)
        return values[trial] <= sorted(values.values())[ceil(share * len(values)) - 1]


@dataclass
class Stopping(Policy):
    """ASHA that stops trials (Li et al. 2020), at trusted rungs only; without `trust`, at every rung."""

    trust: Trust = None
    untrusted: Decision = "continue"
    """What happens at an untrusted rung to a trial in the worse half."""
    first: int = 0

    def __post_init__(self) -> None:
        self._book = RungBook(RUNGS, FACTOR, self.trust)

    def report(self, trial: int, rung: int, value: float) -> Decision:
        self.values.setdefault(trial, []).append(value)
        verdict = self._book.report(str(trial), RUNGS[rung], value)
        if verdict.trusted is False and not self.is_among(trial, rung, 1 / 2):
            return self.untrusted
        return verdict.decision


@dataclass
class Promotion(Policy):
    """ASHA that pauses each trial at each rung, and continues it once it is among the best third there."""

    first: int = 0

    def decide(self, trial: int, rung: int) -> Decision:
        del trial, rung
        return "pause"

    def resumed(self, paused: Mapping[int, int], *, more: bool) -> int | None:
        for rung in reversed(range(LAST)):
            waiting = [trial for trial, at in paused.items() if at == rung]
            values = self.at(rung)
            worst = sorted(values.values())[: int(len(values) / FACTOR)]
            good = [trial for trial in waiting if worst and values[trial] <= worst[-1]]
            if good:
                return min(good, key=values.__getitem__)
        return super().resumed(paused, more=more)


@dataclass
class PromotionUntilTrusted(Stopping):
    """Promotion at rungs that are not trusted, and stopping at those that are."""

    def report(self, trial: int, rung: int, value: float) -> Decision:
        self.values.setdefault(trial, []).append(value)
        verdict = self._book.report(str(trial), RUNGS[rung], value)
        if verdict.trusted is False and not self.is_among(trial, rung, 1 / FACTOR):
            return "pause"
        return verdict.decision


@dataclass
class OneEarlyRung(Policy):
    """Run `trials` trials to one early rung, then the best of them to the end, one after the other."""

    trials: int = 27
    first: int = 0
    rung: int = 1

    def decide(self, trial: int, rung: int) -> Decision:
        del trial
        return "pause" if rung == self.rung else "continue"

    def resumed(self, paused: Mapping[int, int], *, more: bool) -> int | None:
        return self.best(paused) if paused and (len(self.values) >= self.trials or not more) else None


@dataclass
class TrustFromHigherRungs(Stopping):
    """Trusted rungs, where a rung also earns trust by predicting a higher rung that is trusted."""

    error: float = 0.1

    def __post_init__(self) -> None:
        self._looked: dict[tuple[int, int], int] = {}
        self._found: set[int] = set()

    def report(self, trial: int, rung: int, value: float) -> Decision:
        trusted = rung < LAST and self._trusts(rung)
        self.values.setdefault(trial, []).append(value)
        if rung == LAST:
            return "stop"
        return "stop" if trusted and not self.is_among(trial, rung, 1 / FACTOR) else "continue"

    def _trusts(self, rung: int) -> bool:
        if rung not in self._found:
            higher = [above for above in range(rung + 1, LAST + 1) if above == LAST or self._trusts(above)]
            found = [self._predicts(rung, above, LAST - rung) for above in higher]
            if any(found):
                self._found.add(rung)
        return rung in self._found

    def _predicts(self, rung: int, above: int, looks: int) -> bool:
        early, late = self.at(rung), self.at(above)
        both = list(late)
        found = False
        for count in range(max(4, self._looked.get((rung, above), 3) + 1), len(both) + 1):
            pairs = [(early[trial], late[trial]) for trial in both[:count]]
            found |= p_value(*map(list, zip(*pairs, strict=True))) <= allowed_p(self.error / looks, count)  # type: ignore[arg-type]
            self._looked[rung, above] = count
        return found


@dataclass
class Pasha(Policy):
    """ASHA whose last rung is raised while the order of the trials still changes (Bohdal et al. 2023, PASHA).

    The soft ranking counts two values as tied that differ by less than `tie` of their spread.
    """

    first: int = 0
    tie: float = 0.1
    top: int = 1

    def decide(self, trial: int, rung: int) -> Decision:
        if rung == self.top and self._order_changes():
            self.top = min(self.top + 1, LAST)
        if rung >= self.top:
            return "pause"
        return "continue" if self.is_among(trial, rung, 1 / FACTOR) else "stop"

    def resumed(self, paused: Mapping[int, int], *, more: bool) -> int | None:
        waiting = {
            trial: rung for trial, rung in paused.items() if rung < self.top and self.is_among(trial, rung, 1 / FACTOR)
        }
        return self.best(waiting) if waiting else super().resumed(paused, more=more)

    def _order_changes(self) -> bool:
        late, early = self.at(self.top), self.at(self.top - 1)
        spread = max((*early.values(), -inf)) - min((*early.values(), inf))
        trials = sorted(late, key=late.__getitem__)
        ranked = [early[trial] for trial in trials]
        return any(after < before - self.tie * spread for i, before in enumerate(ranked) for after in ranked[i + 1 :])


def trusted(error: float) -> Callable[[], Policy]:
    """Return the policy of a sweep: rungs stop trials once a test has shown that they predict the end."""
    return lambda: Stopping(trust=SequentialTest(error))


POLICIES: dict[str, tuple[str, Callable[[], Policy]]] = {
    "random, no stopping": ("random", Policy),
    "TPE, no stopping": ("tpe", Policy),
    "random, ASHA": ("random", Stopping),
    "TPE, ASHA: Ray's own": ("tpe", Stopping),
    "TPE, one early rung for all": ("tpe", OneEarlyRung),
    "TPE, promotion": ("tpe", Promotion),
    "joint TPE, PASHA": ("joint", Pasha),
    "joint TPE, ASHA": ("joint", Stopping),
    "ours: joint TPE, trusted rungs": ("joint", trusted(0.1)),
    "ours, error 0.2": ("joint", trusted(0.2)),
    "ours, error 0.3": ("joint", trusted(0.3)),
    "ours, threshold 4 and 0.3": ("joint", lambda: Stopping(trust=Threshold(4, 0.3))),
    "ours, threshold 2 and 0.3": ("joint", lambda: Stopping(trust=Threshold(2, 0.3))),
    "ours + pause the worse half": ("joint", lambda: Stopping(trust=SequentialTest(0.1), untrusted="pause")),
    "ours + pause, threshold 2 and 0.3": ("joint", lambda: Stopping(trust=Threshold(2, 0.3), untrusted="pause")),
    "ours + trust from any rung": ("joint", TrustFromHigherRungs),
    "ours + promotion until trusted": ("joint", lambda: PromotionUntilTrusted(trust=SequentialTest(0.1))),
}
"""Sampler and policy of each row of the table. A joint TPE models all parameters by one density."""
