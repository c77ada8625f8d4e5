"""Sweep one grid of Beta-VAEs on the training loss and then on KID, and show that the loss picks the wrong beta.

The data are procedural shapes. The training loss is lowest near the lower bound of beta, whatever the model is worth.
KID is best inside the range. The benchmark prints both answers and a table. It exits with 1 unless (1) the lowest loss
lies in the lowest quarter of the range, (2) the lowest KID lies inside the range, and (3) the model that the loss picks
has more than 1.3 times the lowest KID. The networks are small, so the result depends on the seed: python
benchmarks/beta_trap.py
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from math import log
from pathlib import Path

from tune_app.experiment.log import read
from tune_app.experiment.out_folder import find
from tune_app.experiment.records import Records

BETAS = [0.0002, 0.00065, 0.0021, 0.0068, 0.022, 0.072, 0.24, 0.76, 2.5, 8.0]
SPACE = """
version: 1
name: beta-trap-{metric}
model: beta_vae
data: {{name: shapes, resolution: 16}}
metric: {{name: {metric}}}
parameters:
  beta: {{type: categorical, choices: {betas}}}
fixed: {{width: 8, latent_dim: 32, batch_size: 128, lr: 6.0e-3}}
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
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("experiments"))
    asked = parser.parse_args()
    began = time.monotonic()
    sweeps = {metric: sweep(metric, asked.kimg, asked.seed, asked.out) for metric in ("loss", "kid")}
    rows = sweeps["kid"]
    print(table(rows))
    for metric, found in sweeps.items():
        print(f"the sweep on {metric} chooses beta {least(found, metric):g}")
    print(f"{(time.monotonic() - began) / 60:.1f} minutes")
    naive, best = least(sweeps["loss"], "loss"), least(rows, "kid")
    place = log(naive / BETAS[0]) / log(BETAS[-1] / BETAS[0])
    ratio = rows[naive]["kid"] / rows[best]["kid"]
    checks = {
        f"the least loss lies in the lowest quarter of the range (at {place:.2f} of it)": place < 0.25,
        f"the least kid lies inside the range (beta {best:g})": BETAS[0] < best < BETAS[-1],
        f"the loss's choice has {ratio:.2f} times the least kid, more than {WORSE}": ratio > WORSE,
    }
    for sentence, holds in checks.items():
        print(f"{'holds' if holds else 'FAILS'}: {sentence}")
    sys.exit(0 if all(checks.values()) else 1)


def sweep(metric: str, kimg: float, seed: int, out: Path) -> Rows:
    """Run the grid and return the metrics of the last rung by beta."""
    out.mkdir(parents=True, exist_ok=True)
    space = out / f"beta-trap-{metric}.yaml"
    space.write_text(SPACE.format(metric=metric, betas=BETAS, seed=seed, kimg=kimg))
    command = [sys.executable, "-m", "tune_app", "run", str(space), "--profile", "none", "--out", str(out)]
    subprocess.run([*command, "--wandb", "disabled"], check=True)
    records = Records(read(find("latest", out).events)).trials.values()
    return {float(record.params["beta"]): record.rungs[-1].metrics for record in records if record.rungs}


def least(rows: Rows, metric: str) -> float:
    return min(rows, key=lambda beta: rows[beta][metric])


def table(rows: Rows) -> str:
    """Return a Markdown table with a row for each beta."""
    lines = [["beta", *SHOWN], ["---"] * (len(SHOWN) + 1)]
    lines += [[f"{beta:g}", *(f"{rows[beta].get(name, float('nan')):.3g}" for name in SHOWN)] for beta in sorted(rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
