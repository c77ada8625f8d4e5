"""Rules that say when a rung is trusted to stop trials, from the values of the trials that have finished.

One rule is a sequential test with a stated error rate. The other is the fixed threshold of earlier versions.
"""

import warnings
from collections.abc import Sequence
from math import ceil, isfinite
from typing import NamedTuple, Protocol, TypeAlias

from tune_app.config.schema import TrustConfig

FIRST_LOOK, GROWTH = 4, 1.05
SHARE = 5.25
"""Factor of `allowed_p`. An unrelated rung is then trusted in at most `error` of simulated sweeps (docs/rungs.md)."""

Values: TypeAlias = Sequence[float]
"""Values of the finished trials, in the order in which they finished. Lower is better."""


class Judge(Protocol):
    """Judge of one rung."""

    def trusts(self, early: Values, final: Values) -> bool:
        """Return True if the values at the rung predict those at the end. The lists only grow between two calls."""
        ...


class Threshold(NamedTuple):
    """A rung is trusted while `trials` finished trials have a value there and Kendall's tau-b with the end is `tau`."""

    trials: int
    tau: float

    def judge(self) -> Judge:
        return self

    def trusts(self, early: Values, final: Values) -> bool:
        return len(early) >= self.trials and kendall_tau(early, final) >= self.tau


class SequentialTest(NamedTuple):
    """A rung is trusted once a one-sided test of Kendall's tau rejects that it is unrelated to the end.

    `error` is the probability that an unrelated rung is ever trusted, however many trials finish. A trusted rung loses
    its trust while tau is 0 or less.
    """

    error: float

    def judge(self) -> Judge:
        return _Proof(self.error)


def trust_rule(config: TrustConfig | None) -> SequentialTest | Threshold | None:
    """Return the rule of a configuration, or None if every rung is trusted from the start."""
    if config is None:
        return None
    if config.error is not None:
        return SequentialTest(config.error)
    assert config.trials is not None
    assert config.tau is not None
    return Threshold(config.trials, config.tau)


class _Proof:
    """Evidence on one rung: the number of finished trials at the next look, and True once a look was significant."""

    def __init__(self, error: float) -> None:
        self.error = error
        self.next_look = FIRST_LOOK
        self.found = False

    def trusts(self, early: Values, final: Values) -> bool:
        while not self.found and self.next_look <= len(early):
            look = self.next_look
            self.found = p_value(early[:look], final[:look]) <= allowed_p(self.error, look)
            self.next_look = ceil(GROWTH * look)  # one by one up to 20 trials, then each time there are 5 % more
        return self.found and kendall_tau(early, final) > 0


def allowed_p(error: float, finished: int) -> float:
    """Return the largest p-value that trusts a rung at a look at `finished` trials.

    It falls with n^1.5. So the looks share the error rate: most of it goes to the first ones, and all late looks
    together use little of it.
    """
    return float(SHARE * error / finished**1.5)


def p_value(early: Values, final: Values) -> float:
    """Return the probability of a Kendall's tau at least this large if the two lists are unrelated.

    It is exact up to 33 trials. Ties count as disagreement, which can only make it larger.
    """
    from scipy.stats import kendalltau  # takes half a second to import

    order = sorted(range(len(early)), key=lambda i: (early[i], -final[i]))
    values = [final[i] for i in order]
    ranks = {place: rank for rank, place in enumerate(sorted(range(len(values)), key=lambda i: (values[i], -i)))}
    return float(kendalltau(range(len(values)), [ranks[i] for i in range(len(values))], alternative="greater").pvalue)


def kendall_tau(left: Values, right: Values) -> float:
    """Return Kendall's tau-b (Kendall 1945), or -1 if it is undefined.

    It is undefined when all values are equal, and -1 keeps such a rung untrusted.
    """
    from scipy.stats import kendalltau  # takes half a second to import

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy warns about fewer than two values; the caller checks the count
        tau = float(kendalltau(left, right).statistic)
    return tau if isfinite(tau) else -1.0
