"""Measure the overhead of a sweep: 50 Branin trials with nine reports of 20 ms on two workers, 4.5 s of work.

The time is that from the first `asked` to the last `ended` in the log. `whole` is the process from start to exit.

    python benchmarks/sweep_overhead.py --json
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from statistics import median

import click

TRIALS, REPORTS, STEP_SECONDS, WORKERS = 50, 9, 0.02, 2
SETTINGS = [
    "scheduler.type=none",
    f"scheduler.max_kimg={REPORTS}",
    "evaluation.report_kimg=1",
    f"fixed.step_seconds={STEP_SECONDS}",
]


def once(out: Path) -> dict[str, float]:
    sets = [word for setting in SETTINGS for word in ("--set", setting)]
    command = [
        sys.executable,
        "-m",
        "tune_app",
        "run",
        "branin_space.yaml",
        "--trials",
        str(TRIALS),
        "--out",
        str(out),
        *sets,
    ]
    began = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    whole = time.monotonic() - began
    log = max(out.iterdir()) / "events.jsonl"
    events = [json.loads(line) for line in log.read_text().splitlines()]
    first = next(event for event in events if event["event"] == "asked")
    last = [event for event in events if event["event"] == "ended"][-1]
    seconds = (datetime.fromisoformat(last["time"]) - datetime.fromisoformat(first["time"])).total_seconds()
    work = TRIALS * REPORTS * STEP_SECONDS / WORKERS
    return {"seconds": seconds, "ratio": seconds / work, "whole": whole}


@click.command()
@click.option("--rounds", default=3, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(rounds: int, as_json: bool) -> None:
    """Time the sweep and print the time as a multiple of the work."""
    runs = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            runs.append(once(Path(folder)))
            click.echo(
                "asked to ended {seconds:.2f} s, {ratio:.2f} times the work; process {whole:.1f} s".format(**runs[-1]),
                err=as_json,
            )
    if as_json:
        click.echo(json.dumps({"runs": runs, "median_ratio": median(run["ratio"] for run in runs)}, indent=2))


if __name__ == "__main__":
    main()
