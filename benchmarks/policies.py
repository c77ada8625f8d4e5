"""Compare policies of a sweep by the cost of a good setting, on recorded trainings and on surfaces with known optima.

    python benchmarks/policies.py --seeds 50                   the table, in some minutes
    python benchmarks/policies.py --seeds 50 --json
    python benchmarks/policies.py --problem ncsn-shapes        one problem

Four workers run a sweep of up to 40 trials. Its pick is the trial with the lowest value at full length. The cost is
counted in full trainings, until the true value of the pick is among the best 5 % of random settings for the first time.
A figure is the expected running time (Hansen et al. 2021, COCO): the cost of all sweeps, divided by the number of those
that got there. The interval holds 95 % of its bootstrap values.

Problems are the tables of `benchmarks/tables` (see record_table.py), Branin with a bias that vanishes at the end, and
the four surfaces of trusted_rungs.py. In a table, a proposal is the nearest setting that has not been used, a training
is one of its two, and the true value is the mean of the re-evaluations of both.
"""

from __future__ import annotations

import gzip
import heapq
import json
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from math import inf, sin
from pathlib import Path
from typing import NamedTuple, Protocol

import click
import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from benchmarks.search_policies import LAST, POLICIES, RUNGS, Policy
from benchmarks.trusted_rungs import KINDS, Surfaces
from search_spaces.to_optuna import distribution
from trainables.branin import branin
from tune_app import load

TRIALS, WORKERS, GOOD = 40, 4, 0.05
TABLES = Path(__file__).parent / "tables"
RANDOM_POINTS = 20_000
DIVERGED = 1e9
"""Value of a training that has diverged."""

Point = Mapping[str, float]


class Problem(Protocol):
    """What a sweep searches, for one seed."""

    space: Mapping[str, BaseDistribution]
    target: float
    """A true value that a share of GOOD of the random settings reaches."""

    def taken(self, proposal: Point) -> tuple[int, Point]:
        """Return the number of the setting that is trained, and the setting."""
        ...

    def value(self, number: int, rung: int) -> float: ...

    def true(self, number: int) -> float: ...


class Table:
    """Recorded trainings."""

    def __init__(self, path: Path, seed: int) -> None:
        document = json.loads(gzip.decompress(path.read_bytes()))
        config = load(document["space"], profile=document["profile"])
        self.space = {name: distribution(p) for name, p in config.space.training.items()}
        rows: dict[int, list[dict]] = {}
        for row in document["rows"]:
            rows.setdefault(row["setting"], []).append(row)
        metric, end = document["metric"], document["max_kimg"]
        self._params = [rows[number][0]["params"] for number in sorted(rows)]
        self._true = np.array([self._mean(rows[number]) for number in sorted(rows)])
        self.target = float(np.quantile(self._true, GOOD, method="higher"))
        training = np.random.default_rng(seed).integers(2, size=len(rows))
        self._values = [
            self._at_rungs(rows[number][which], metric, end)
            for number, which in zip(sorted(rows), training, strict=True)
        ]
        self._units = np.array([self._unit(params) for params in self._params])
        self._free = set(range(len(rows)))

    def taken(self, proposal: Point) -> tuple[int, Point]:
        free = sorted(self._free)
        distances = ((self._units[free] - self._unit(proposal)) ** 2).sum(1)
        number = free[int(distances.argmin())]
        self._free.remove(number)
        return number, self._params[number]

    def value(self, number: int, rung: int) -> float:
        return self._values[number][rung]

    def true(self, number: int) -> float:
        return float(self._true[number])

    def _unit(self, params: Point) -> np.ndarray:
        """Return a point in the unit cube. A parameter with a logarithmic range counts by its logarithm."""
        ranges = [(name, known) for name, known in self.space.items() if isinstance(known.high, (int, float))]  # type: ignore[attr-defined]
        scaled = [(np.log if known.log else float, name, known) for name, known in ranges]  # type: ignore[attr-defined]
        return np.array([(f(params[n]) - f(k.low)) / (f(k.high) - f(k.low)) for f, n, k in scaled])  # type: ignore[attr-defined]

    @staticmethod
    def _mean(rows: list[dict]) -> float:
        return float(np.mean([np.mean(row["fresh"]["draws"]) if "fresh" in row else DIVERGED for row in rows]))

    @staticmethod
    def _at_rungs(row: dict, metric: str, end: float) -> list[float]:
        known = {round(rung["kimg"] / end, 2): rung[metric] for rung in row["rungs"]}
        return [known.get(round(share, 2), DIVERGED) for share in RUNGS]


class Branin:
    """Branin's function with early values that are off by up to `bias`, see trainables/branin.py."""

    def __init__(self, bias: float) -> None:
        self.space = {"x": FloatDistribution(-5, 10), "y": FloatDistribution(0, 15)}
        self._bias, self._points = bias, list[tuple[float, float]]()
        draws = np.random.default_rng(0).random((RANDOM_POINTS, 2)) * 15 - [5, 0]
        self.target = float(np.quantile([branin(x, y) for x, y in draws], GOOD))

    def taken(self, proposal: Point) -> tuple[int, Point]:
        self._points.append((proposal["x"], proposal["y"]))
        return len(self._points) - 1, proposal

    def value(self, number: int, rung: int) -> float:
        x, y = self._points[number]
        return branin(x, y) + self._bias * (1 - RUNGS[rung]) ** 2 * (1 + sin(x + y)) / 2

    def true(self, number: int) -> float:
        return branin(*self._points[number])


class Surface:
    """A surface whose rungs correlate with the end by `rhos`."""

    def __init__(self, rhos: tuple[float, ...]) -> None:
        self.space = {name: FloatDistribution(0, 1) for name in "xy"}
        self._surfaces, self._rhos, self._points = Surfaces.measured(), rhos, list[np.ndarray]()
        draws = np.random.default_rng(0).random((RANDOM_POINTS // 10, 2))
        self.target = float(np.quantile([self._surfaces.final(point) for point in draws], GOOD))

    def taken(self, proposal: Point) -> tuple[int, Point]:
        self._points.append(np.array([proposal["x"], proposal["y"]]))
        return len(self._points) - 1, proposal

    def value(self, number: int, rung: int) -> float:
        return self._surfaces.at_rung(self._points[number], self._rhos[rung])

    def true(self, number: int) -> float:
        return self._surfaces.final(self._points[number])


def problems() -> dict[str, Callable[[int], Problem]]:
    """Return the problems by name. Each is made from a seed."""
    found: dict[str, Callable[[int], Problem]] = {
        path.name.split(".")[0]: (lambda seed, path=path: Table(path, seed))
        for path in sorted(TABLES.glob("*.json.gz"))
    }
    found |= {f"Branin, bias {bias:g}": (lambda _, bias=bias: Branin(bias)) for bias in (0.0, 200.0)}
    found |= {name: (lambda _, rhos=rhos: Surface(rhos)) for name, rhos in KINDS.items()}
    return found


def sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    """Return a sampler by the name that search_policies.py gives it."""
    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=10, multivariate=name == "joint")


class Outcome(NamedTuple):
    """End of a simulated sweep."""

    cost: float
    reached: bool


class Sweep:
    """One simulated sweep."""

    def __init__(self, problem: Problem, policy: Policy, sampler: optuna.samplers.BaseSampler) -> None:
        self._problem, self._policy = problem, policy
        self._study = optuna.create_study(sampler=sampler)
        self._running: list[tuple[float, int, int]] = []
        """Time at which a trial reaches its next rung, the trial, and the rung."""
        self._paused: dict[int, int] = {}
        self._points: dict[int, Point] = {}

    def run(self) -> Outcome:
        """Run until the pick is good, or until no trial is left."""
        spent, best, now = 0.0, (inf, inf), 0.0
        for _ in range(WORKERS):
            self._fill(now)
        while self._running:
            now, trial, rung = heapq.heappop(self._running)
            spent += self._length(rung)
            value = self._problem.value(trial, rung)
            decision = self._policy.report(trial, rung, value)
            if rung == LAST:
                best = min(best, (value, self._problem.true(trial)))
                if best[1] <= self._problem.target:
                    return Outcome(spent, True)
            if decision == "continue":
                heapq.heappush(self._running, (now + self._length(rung + 1), trial, rung + 1))
                continue
            if decision == "pause":
                self._paused[trial] = rung
            self._tell(trial, rung)
            self._fill(now)
        return Outcome(spent, False)

    def _fill(self, now: float) -> None:
        """Give a free slot to a trial, if there is one."""
        more = len(self._points) < TRIALS
        trial = self._policy.resumed(self._paused, more=more)
        if trial is not None:
            rung = self._paused.pop(trial) + 1
        elif more:
            proposed = self._study.ask(dict(self._problem.space))
            self._study.tell(proposed, state=TrialState.FAIL)  # the setting that is trained may be another
            (trial, point), rung = self._problem.taken(proposed.params), self._policy.first
            self._points[trial] = point
        else:
            return
        heapq.heappush(self._running, (now + self._length(rung), trial, rung))

    def _tell(self, trial: int, rung: int) -> None:
        """Tell the sampler the value of a trial. One that is paused counts as stopped, and later again as finished."""
        values = self._policy.values[trial]
        self._study.add_trial(
            create_trial(
                state=TrialState.COMPLETE if rung == LAST else TrialState.PRUNED,
                params=dict(self._points[trial]),
                distributions=dict(self._problem.space),
                value=values[-1] if rung == LAST else None,
                intermediate_values={self._policy.first + place: value for place, value in enumerate(values)},
            )
        )

    def _length(self, rung: int) -> float:
        return RUNGS[rung] - (RUNGS[rung - 1] if rung > self._policy.first else 0.0)


@dataclass(frozen=True)
class Row:
    """Expected cost of a policy on a problem, with its 95 % interval, and the share of sweeps that got there."""

    problem: str
    policy: str
    cost: float
    low: float
    high: float
    reached: float


def row(problem: str, name: str, seeds: int) -> Row:
    """Simulate `seeds` sweeps."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    make, (sampled, policy) = problems()[problem], POLICIES[name]
    outcomes = [Sweep(make(seed), policy(), sampler(sampled, seed)).run() for seed in range(seeds)]
    costs, reached = (np.array(values, dtype=float) for values in zip(*outcomes, strict=True))
    drawn = np.random.default_rng(0).integers(seeds, size=(2000, seeds))
    drawn_costs = costs[drawn].sum(1) / np.maximum(1.0, reached[drawn].sum(1))
    low, high = np.quantile(drawn_costs, [0.025, 0.975])
    expected = float(costs.sum() / max(1.0, reached.sum()))
    return Row(problem, name, expected, float(low), float(high), float(reached.mean()))


def table(chosen: list[str], seeds: int) -> Iterator[Row]:
    """Yield the rows of some problems."""
    pairs = [(problem, name) for problem in chosen for name in POLICIES]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(row, *zip(*pairs, strict=True), [seeds] * len(pairs))


@click.command()
@click.option("--seeds", default=50, show_default=True)
@click.option("--problem", "chosen", multiple=True, help="Name of a problem; all by default.")
@click.option("--json", "as_json", is_flag=True)
def main(seeds: int, chosen: tuple[str, ...], as_json: bool) -> None:
    """Print the expected cost of a good setting for each policy and problem."""
    rows = []
    for one in table(list(chosen) or list(problems()), seeds):
        rows.append(one)
        if not as_json:
            cost = f"{one.cost:6.1f} ({one.low:.1f} to {one.high:.1f})"
            click.echo(f"{one.problem:36}{one.policy:34}{cost:26}{one.reached:.0%}")
    if as_json:
        click.echo(json.dumps([vars(one) for one in rows], indent=2))


if __name__ == "__main__":
    main()
