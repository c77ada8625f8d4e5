"""Simulate asynchronous sweeps without early stopping, with ASHA, and with ASHA on trusted rungs.

Four workers and Optuna's TPE search two parameters. The value of a trial at rung r is rho_r times its true final value
plus sqrt(1 - rho_r^2) times the value of a second, uncorrelated surface. There are four kinds of rungs, from good ones
to the misleading ones measured on both models. The figure is the true final value of the sweep's pick, the best trial
that ran to the end, as a mean over seeds. Lower is better.

    python benchmarks/trusted_rungs.py            the table, some minutes
    python benchmarks/trusted_rungs.py --json
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable
from dataclasses import dataclass
from statistics import mean
from typing import TypeAlias

import click
import numpy as np
import optuna

from tune_app.driver.asha import RungBook
from tune_app.driver.trust import SequentialTest, Threshold

Policy: TypeAlias = SequentialTest | Threshold | str | None
RUNGS = [1 / 27, 1 / 9, 1 / 3, 1.0]
WORKERS = 4
KINDS = {
    "good: .5 .7 .9 1": (0.5, 0.7, 0.9, 1.0),
    "late: 0 .5 .85 1": (0.0, 0.5, 0.85, 1.0),
    "NCSN, laptop: -.3 .35 .8 1": (-0.3, 0.35, 0.8, 1.0),
    "Beta-VAE, real images: 0 -.1 .6 1": (0.0, -0.1, 0.6, 1.0),
}
POLICIES: dict[str, Policy] = {
    "none": "none", "asha": None, "threshold": Threshold(4, 0.3), "trusted": SequentialTest(0.1)
}  # fmt: skip


@dataclass
class Surfaces:
    """Two uncorrelated surfaces over the unit square with unit standard deviation each."""

    slope: float
    offset: float
    spread: float
    true_mean: float
    true_spread: float

    @classmethod
    def measured(cls) -> Surfaces:
        points = np.random.default_rng(0).random((20_000, 2))
        true, early = _true(points), _early(points)
        slope = float(np.cov(true, early)[0, 1] / true.var())
        rest = early - slope * true
        return cls(slope, float(rest.mean()), float(rest.std()), float(true.mean()), float(true.std()))

    def final(self, point: np.ndarray) -> float:
        return float(_true(point[None])[0])

    def at_rung(self, point: np.ndarray, rho: float) -> float:
        true = (self.final(point) - self.true_mean) / self.true_spread
        other = (float(_early(point[None])[0]) - self.slope * self.final(point) - self.offset) / self.spread
        return rho * true + float(np.sqrt(1 - rho**2)) * other


def _true(points: np.ndarray) -> np.ndarray:
    x, y = points.T
    return 0.13 + (x - 0.7) ** 2 + 1.5 * (y - 0.35) ** 2 + 0.05 * (1 - np.cos(9 * (x - 0.7)) * np.cos(7 * (y - 0.35)))


def _early(points: np.ndarray) -> np.ndarray:
    x, y = points.T
    return (x - 0.25) ** 2 + (y - 0.8) ** 2 + 0.5 * x * y


def sweep(surfaces: Surfaces, rhos: tuple[float, ...], policy: Policy, budget: float, seed: int) -> float:
    """Return the true final value of a sweep's pick after the work of `budget` full trainings."""
    rungs = RUNGS if policy != "none" else RUNGS[-1:]
    book = RungBook(rungs, 3, None if policy == "none" else policy)  # type: ignore[arg-type]
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=8))
    queue: list[tuple[float, int, int]] = []  # (time at which the next rung is reached, trial, rung)
    points: dict[int, np.ndarray] = {}
    spent, best = 0.0, np.inf

    def start(now: float) -> None:
        trial = study.ask({name: optuna.distributions.FloatDistribution(0, 1) for name in "xy"})
        points[trial.number] = np.array([trial.params["x"], trial.params["y"]])
        heapq.heappush(queue, (now + rungs[0], trial.number, 0))

    for _ in range(WORKERS):
        start(0.0)
    while spent < budget:
        now, number, rung = heapq.heappop(queue)
        spent += rungs[rung] - (rungs[rung - 1] if rung else 0.0)
        rho = rhos[RUNGS.index(rungs[rung])]
        value = surfaces.at_rung(points[number], rho)
        verdict = book.report(str(number), rungs[rung], value)
        trial = optuna.trial.Trial(
            study, study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
        )
        trial.report(value, rung)
        if rung + 1 == len(rungs):
            best = min(best, surfaces.final(points[number]))
            study.tell(number, value)
            start(now)
        elif verdict.decision == "stop":
            study.tell(number, state=optuna.trial.TrialState.PRUNED)
            start(now)
        else:
            heapq.heappush(queue, (now + rungs[rung + 1] - rungs[rung], number, rung + 1))
    return float(best)


def table(budgets: tuple[float, ...], seeds: int, progress: Callable[[str], None]) -> list[dict[str, object]]:
    surfaces, rows = Surfaces.measured(), []
    for kind, rhos in KINDS.items():
        for budget in budgets:
            found = {
                name: mean(sweep(surfaces, rhos, policy, budget, seed) for seed in range(seeds))
                for name, policy in POLICIES.items()
            }
            better = min(found["none"], found["asha"])
            rows.append({"rungs": kind, "budget": budget, **found, "trusted_to_better": found["trusted"] / better})
            progress(f"{kind:36}{budget:6g}  " + "  ".join(f"{name} {value:.3f}" for name, value in found.items())
                     + f"  trusted / better of the two {rows[-1]['trusted_to_better']:.2f}")  # fmt: skip
    return rows


@click.command()
@click.option("--seeds", default=48, show_default=True)
@click.option("--budget", "budgets", multiple=True, type=float, default=(12.0, 30.0), show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(seeds: int, budgets: tuple[float, ...], as_json: bool) -> None:
    """Print the table of trusted rungs, ASHA and no early stopping."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rows = table(budgets, seeds, lambda line: click.echo(line, err=as_json))
    worst = max(float(str(row["trusted_to_better"])) for row in rows)
    if as_json:
        click.echo(json.dumps({"rows": rows, "worst_trusted_to_better": worst}, indent=2))
    else:
        click.echo(f"worst case of trusted against the better of the two: {worst:.2f} times")


if __name__ == "__main__":
    main()
