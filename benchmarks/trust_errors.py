"""Simulate how often a rung is trusted, by its correlation with the end and the number of finished trials.

python benchmarks/trust_errors.py             the table, a minute
python benchmarks/trust_errors.py --json
"""

from __future__ import annotations

import json
from math import sqrt

import click
import numpy as np

from tune_app.driver.trust import SequentialTest

CORRELATIONS = (0.0, 0.5, 0.7, 0.8, 0.9)
FINISHED = (5, 6, 8, 10, 12, 20, 40)


def trusted_after(rho: float, sweeps: int, error: float) -> list[float]:
    """Return the share of sweeps in which a rung has ever been trusted after each number of finished trials."""
    rng = np.random.default_rng(0)
    first: list[int] = []
    for _ in range(sweeps):
        early = rng.standard_normal(max(FINISHED))
        final = rho * early + sqrt(1 - rho**2) * rng.standard_normal(max(FINISHED))
        judge = SequentialTest(error).judge()
        counts = range(1, max(FINISHED) + 1)
        first.append(next((n for n in counts if judge.trusts(list(early[:n]), list(final[:n]))), max(FINISHED) + 1))
    return [float(np.mean([one <= n for one in first])) for n in FINISHED]


@click.command()
@click.option("--sweeps", default=2000, show_default=True)
@click.option("--error", default=0.1, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(sweeps: int, error: float, as_json: bool) -> None:
    """Print the share of trusted rungs."""
    rows = {rho: trusted_after(rho, sweeps, error) for rho in CORRELATIONS}
    if as_json:
        click.echo(json.dumps({"finished": FINISHED, "rows": rows}, indent=2))
        return
    click.echo(f"{'rho':>4} " + " ".join(f"{n:>5}" for n in FINISHED))
    for rho, shares in rows.items():
        click.echo(f"{rho:>4} " + " ".join(f"{share:5.3f}" for share in shares))


if __name__ == "__main__":
    main()
