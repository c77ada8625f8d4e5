"""Simulate sweeps whose true values are known, and count how often the stated errors hold.

python benchmarks/stated_errors.py             200 sweeps of each kind, some minutes
python benchmarks/stated_errors.py --json

Features are Gaussian. A sweep takes the best five of 16 generators by one draw against real images, then the best by
three draws against other real images. In the kind `as before`, the re-evaluation uses the same images once more, and
the error is that of the draws alone. In the kind `trained again`, each training of a setting gives another
generator, and the best two settings and a baseline are trained again with two other seeds.
"""

from __future__ import annotations

import json
from collections import Counter
from math import sqrt
from statistics import NormalDist, fmean

import click
import torch
from scipy.special import stdtrit
from torch import Tensor

from trainables.contract import ErrorParts
from trainables.metrics.kid import NO_UNIT, Estimate, Reference, kid
from trainables.trial import errors_of_mean
from tune_app.experiment.events import Event, parse_event
from tune_app.experiment.fresh_values import FreshValues
from tune_app.experiment.records import Records

DIMENSIONS, IMAGES, SAMPLES = 32, 1000, 500
TRIALS, RECHECKED, DRAWS, SEEDS = 16, 5, 3, 2
TIME = "2026-01-01T00:00:00+00:00"
KINDS = {
    "as before": (0.5, 0.5, 0.0),
    "equal trials": (0.5, 0.0, 0.0),
    "different trials": (0.5, 0.5, 0.0),
    "trained again": (0.5, 0.5, 0.1),
}
"""Squared shift of the best generator, the spread of the shifts between settings, and that between trainings."""


def true_kid(shift: float) -> float:
    """Return the kid of N(a, I) to N(0, I) in DIMENSIONS, with |a|^2 = shift, from the moments of a Gaussian."""
    d = DIMENSIONS
    return 3 * shift / d + 3 * shift**2 / d**2 + (shift**3 + 6 * shift**2 + (3 * d + 6) * shift) / d**3


class Sweep:
    """One simulated sweep: its settings, its real images and the events of its log."""

    def __init__(self, seed: int, kind: str) -> None:
        self._random = torch.Generator().manual_seed(seed)
        least, self._between, self._training = KINDS[kind]
        spread = torch.rand(TRIALS, generator=self._random) * self._between
        self.settings = [least + float(one) for one in spread]
        self._held_out, other = Reference(self._draw(0.0, IMAGES), NO_UNIT), Reference(self._draw(0.0, IMAGES), NO_UNIT)
        self._fresh = self._held_out if kind == "as before" else other
        self._parts = kind != "as before"
        self.events: list[Event] = []
        self.shifts = [self._trained(setting) for setting in self.settings]
        sweep_values = [self._measure(shift, self._held_out).value for shift in self.shifts]
        order = sorted(range(TRIALS), key=lambda trial: sweep_values[trial])
        for trial, shift in enumerate(self.shifts):
            self._log(trial, shift, sweep_values[trial], fresh=trial in order[:RECHECKED])
        if self._training:
            for number in range(SEEDS * 3):
                of = order[:3][number % 3]
                self._log(TRIALS + number, self._trained(self.settings[of]), 0.0, fresh=True, retrains=f"{of:04d}")

    def truth(self, trial: str) -> float:
        """Return the true value that a stated one estimates: of the setting if it was trained again, else the trial."""
        setting = self.settings[int(trial)]
        if not self._training:
            return true_kid(self.shifts[int(trial)])
        nodes = [NormalDist().inv_cdf((k + 0.5) / 200) for k in range(200)]
        return fmean(true_kid(max(0.0, setting + self._training * node)) for node in nodes)

    def _trained(self, setting: float) -> float:
        noise = float(torch.randn((), generator=self._random))
        return max(0.0, setting + self._training * noise)

    def _draw(self, shift: float, count: int) -> Tensor:
        features = torch.randn(count, DIMENSIONS, generator=self._random)
        features[:, 0] += sqrt(shift)
        return features

    def _measure(self, shift: float, reference: Reference) -> Estimate:
        return kid(self._draw(shift, SAMPLES), reference)

    def _log(self, trial: int, shift: float, value: float, *, fresh: bool, retrains: str | None = None) -> None:
        name = f"{trial:04d}"
        source = "retraining" if retrains else "sampler"
        entries: list[dict[str, object]] = [
            {"event": "asked", "params": {}, "source": source, "retrains": retrains},
            {"event": "reported", "kimg": 1.0, "seconds": 1.0, "rung": True, "metrics": {"kid": value},
             "decision": "stop"},
            {"event": "ended", "state": "completed", "reason": "max_kimg", "kimg": 1.0, "metrics": {}},
        ]  # fmt: skip
        if fresh:
            found = [self._measure(shift, self._fresh) for _ in range(DRAWS)]
            parts = [ErrorParts(one.samples_stderr, one.without_group) for one in found]
            draws = [{"kid": one.value, "kid_stderr": one.samples_stderr} for one in found]
            entries.append({"event": "rechecked", "kimg": 1.0, "seconds": 1.0, "sampling": {}, "draws": draws,
                            "same": [], "pictures": {}, "features": "",
                            "errors": {"kid": errors_of_mean(parts)} if self._parts else {}})  # fmt: skip
        self.events += [parse_event({"time": TIME, "trial": name, **entry}) for entry in entries]


def count(kind: str, sweeps: int) -> dict[str, float]:
    """Return the share of stated intervals that hold, and the share of sweeps that tell the truly best one apart."""
    found: Counter[str] = Counter()
    for seed in range(sweeps):
        sweep = Sweep(seed, kind)
        fresh = FreshValues(Records(sweep.events).trials.values(), "kid")
        winner = fresh.best()
        assert winner
        truths = {record.id: sweep.truth(record.id) for record in fresh.ranked()}
        quantile = NormalDist().inv_cdf(0.975) if not fresh.over_trainings else float(stdtrit(fresh.degrees, 0.975))
        for trial, truth in truths.items():
            value, difference = fresh.get(trial), fresh.difference(winner.id, trial)
            assert value
            assert difference
            if fresh.over_trainings and not value.trainings:
                continue  # its own training, which the sweep has chosen, tells little of the setting
            holds = abs(value.mean - truth) <= quantile * value.estimate.stderr
            found["values"] += 1
            found["values that hold"] += holds
            found["winners that hold"] += holds and trial == winner.id
            if trial != winner.id:
                found["differences"] += 1
                off = abs(difference.mean - (truth - truths[winner.id]))
                found["differences that hold"] += off <= quantile * difference.stderr
        compared = [trial for trial in truths if not fresh.over_trainings or ((v := fresh.get(trial)) and v.trainings)]
        truly_best = min(compared, key=lambda trial: truths[trial])
        found["best told apart"] += truly_best not in (winner.id, *fresh.tied_with(winner.id))
        found["ties"] += len(fresh.tied_with(winner.id))
    return {
        "values": found["values that hold"] / found["values"],
        "winners": found["winners that hold"] / sweeps,
        "differences": found["differences that hold"] / found["differences"],
        "wrong": found["best told apart"] / sweeps,
        "ties": found["ties"] / sweeps,
    }


@click.command()
@click.option("--sweeps", default=200, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(sweeps: int, as_json: bool) -> None:
    """Print the shares for each kind of sweep."""
    rows = {kind: count(kind, sweeps) for kind in KINDS}
    if as_json:
        click.echo(json.dumps({"sweeps": sweeps, "rows": rows}, indent=2))
        return
    click.echo(f"{'':18}{'95 % intervals that hold of':>45}{'truly best neither':>22}{'ties':>8}")
    click.echo(f"{'':18}{'all values':>15}{'winners':>15}{'differences':>15}{'won nor tied':>22}{'per sweep':>8}")
    for kind, row in rows.items():
        shares = "".join(f"{row[name]:15.3f}" for name in ("values", "winners", "differences"))
        click.echo(f"{kind:18}{shares}{row['wrong']:22.3f}{row['ties']:8.1f}")


if __name__ == "__main__":
    main()
