"""Train a grid of Beta-VAEs with three seeds, and show that the loss picks the wrong beta.

python benchmarks/beta_trap.py

The data are procedural shapes. The training loss is lowest near the lower bound of beta, whatever the model is worth.
KID is best inside the range. The benchmark prints a table of means over the seeds. It exits with 1 unless the lowest
loss lies in the lowest quarter of the range, the lowest KID lies inside the range, and the loss picks a model with more
than 1.3 times the lowest KID.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from math import log
from pathlib import Path
from statistics import fmean, stdev

from tune_app.experiment.log import read
from tune_app.experiment.out_folder import find
from tune_app.experiment.records import Records

BETAS = [0.0002, 0.00065, 0.0021, 0.0068, 0.022, 0.072, 0.24, 0.76, 2.5, 8.0]
SPACE = """
version: 1
name: beta-trap-{seed}
model: beta_vae
data: {{name: shapes, resolution: 16}}
metric: {{name: kid}}
parameters:
  beta: {{type: categorical, choices: {betas}}}
fixed: {{width: 16, latent_dim: 32, batch_size: 64, lr: 1.0e-3, kl_warmup_kimg: 24}}
search: {{sampler: grid, seed: {seed}}}
scheduler: {{type: none, max_kimg: {kimg}}}
evaluation: {{final_samples: 2000, features: randconv, report_kimg: 24}}
recheck: {{trials: 0}}
resources: {{cpu: 1, gpu: 0}}
"""
SHOWN = [
    "loss",
    "recon_mse",
    "kl",
    "beta_eff",
    "bpd",
    "kid",
    "kid_alt",
    "fd",
    "mig",
    "factorvae",
    "dci",
    "active_units",
]
WORSE = 1.3

Rows = dict[float, dict[str, float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kimg", type=float, default=144.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("experiments"))
    asked = parser.parse_args()
    began = time.monotonic()
    rows, spread = over_seeds([sweep(seed, asked.kimg, asked.out) for seed in range(asked.seeds)])
    print(table(rows, spread))
    print(f"{(time.monotonic() - began) / 60:.1f} minutes")
    naive, best = least(rows, "loss"), least(rows, "kid")
    place = log(naive / BETAS[0]) / log(BETAS[-1] / BETAS[0])
    ratio = rows[naive]["kid"] / rows[best]["kid"]
    checks = {
        f"the least loss lies in the lowest quarter of the range (beta {naive:g}, at {place:.2f} of it)": place < 0.25,
        f"the least kid lies inside the range (beta {best:g})": BETAS[0] < best < BETAS[-1],
        f"the loss's choice has {ratio:.2f} times the least kid, more than {WORSE}": ratio > WORSE,
    }
    for sentence, holds in checks.items():
        print(f"{'holds' if holds else 'FAILS'}: {sentence}")
    sys.exit(0 if all(checks.values()) else 1)


def sweep(seed: int, kimg: float, out: Path) -> Rows:
    """Run the grid and return the metrics of the last rung by beta."""
    out.mkdir(parents=True, exist_ok=True)
    space = out / f"beta-trap-{seed}.yaml"
    space.write_text(SPACE.format(betas=BETAS, seed=seed, kimg=kimg))
    command = [sys.executable, "-m", "tune_app", "run", str(space), "--profile", "none", "--out", str(out)]
    subprocess.run([*command, "--wandb", "disabled"], check=True)
    records = Records(read(find("latest", out).events)).trials.values()
    rows: Rows = {}
    for record in records:
        if record.rungs:
            metrics = {name: value for name, value in record.rungs[-1].metrics.items() if value is not None}
            rows[float(record.params["beta"])] = metrics
    return rows


def over_seeds(sweeps: list[Rows]) -> tuple[Rows, dict[float, float]]:
    """Return the means over the seeds, and the standard deviation of kid, by beta."""
    means = {
        beta: {name: fmean(rows[beta][name] for rows in sweeps) for name in SHOWN if name in sweeps[0][beta]}
        for beta in BETAS
    }
    spread = {beta: stdev(rows[beta]["kid"] for rows in sweeps) if len(sweeps) > 1 else 0.0 for beta in BETAS}
    return means, spread


def least(rows: Rows, metric: str) -> float:
    return min(rows, key=lambda beta: rows[beta][metric])


def table(rows: Rows, spread: dict[float, float]) -> str:
    """Return a Markdown table with a row for each beta."""
    lines = [["beta", *SHOWN, "sd of kid"], ["---"] * (len(SHOWN) + 2)]
    for beta in sorted(rows):
        cells = [f"{rows[beta].get(name, float('nan')):.3g}" for name in SHOWN]
        lines.append([f"{beta:g}", *cells, f"{spread[beta]:.2g}"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
