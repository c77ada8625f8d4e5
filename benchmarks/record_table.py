"""Train random settings of a space at full length, and record every rung in a table on which search policies can run.

    python benchmarks/record_table.py ncsn_space.yaml benchmarks/tables/ncsn-shapes.json.gz --settings 96

Each setting is trained with two seeds, and evaluated at 1/27, 1/9, 1/3, 1/2 and all of its length. At the end it is
evaluated again with fresh seeds and more samples, as the leaders of a sweep are. Settings come from Optuna's random
sampler, and everything from the sweep's seed. One trial runs on one thread. The command may be ended and started again:
it goes on after the trainings that `TABLE.partial` holds, and writes TABLE when all are there. It takes hours.
"""

from __future__ import annotations

import gzip
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import click
import optuna
import torch

from search_spaces.to_optuna import suggest
from trainables.allocator import keep_freed_memory
from trainables.contract import NonFiniteError
from trainables.sample_metrics import sample_metrics_of
from trainables.trial import Trial
from tune_app import load
from tune_app.config.schema import SweepConfig
from tune_app.driver.trial_spec import run_spec, trial_seed

SHARES = (1 / 27, 1 / 9, 1 / 3, 1 / 2, 1.0)
SEEDS = 2
DIGITS = 4
"""Significant digits of a recorded number."""

Row = dict[str, Any]


def settings(config: SweepConfig, count: int) -> list[dict[str, Any]]:
    """Return random settings of the space."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=config.search.seed))
    return [suggest(study.ask(), config.space) for _ in range(count)]


def record(config: SweepConfig, number: int, params: dict[str, Any], seed: int) -> Row:
    """Train one setting to its end and return its row. A training that diverges has no value from there on."""
    torch.set_num_threads(1)
    keep_freed_memory()
    spec = run_spec(config, params, seed=trial_seed(config.search.seed, SEEDS * number + seed))
    metrics = sample_metrics_of(spec.data, config.evaluation.features)
    rungs = [round(config.scheduler.max_kimg * share, 3) for share in SHARES]
    trial = Trial(spec, rungs=rungs, report_kimg=config.evaluation.report_kimg, sample_metrics=metrics)
    row: Row = {"setting": number, "seed": seed, "params": params, "rungs": []}
    try:
        while not trial.done:
            report = trial.advance()
            if report.rung:
                values = {name: value for name, value in report.metrics.items() if not name.startswith("train_")}
                row["rungs"].append({"kimg": report.kimg, "seconds": trial.seconds, **values})
        own = [dict(setting) for setting in spec.final_sampling].index(dict(report.sampling))
        again = trial.recheck(own=own, **config.recheck.model_dump(include={"draws", "samples", "nfe"}))
        row["fresh"] = {"seconds": again.seconds, "draws": [draw[config.metric.name] for draw in again.draws]}
    except NonFiniteError as error:
        row["diverged"] = str(error)
    return row


def rounded(value: Any) -> Any:
    """Return a JSON value with short numbers."""
    match value:
        case float():
            return float(f"{value:.{DIGITS}g}")
        case dict():
            return {name: rounded(item) for name, item in value.items()}
        case list():
            return [rounded(item) for item in value]
    return value


@click.command()
@click.argument("space")
@click.argument("table", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--profile", default="laptop", show_default=True)
@click.option("--set", "changed", multiple=True, metavar="KEY=VALUE")
@click.option("--settings", "count", default=96, show_default=True)
@click.option("--processes", default=2, show_default=True)
def main(space: str, table: Path, profile: str, changed: tuple[str, ...], count: int, processes: int) -> None:
    """Record TABLE, the trainings of random settings of SPACE."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    config = load(space, profile=profile, set=dict(pair.split("=", 1) for pair in changed))
    partial = Path(f"{table}.partial")
    rows = [json.loads(line) for line in partial.read_text().splitlines()] if partial.exists() else []
    known = {(row["setting"], row["seed"]) for row in rows}
    todo = [(number, params, seed) for number, params in enumerate(settings(config, count)) for seed in range(SEEDS)]
    todo = [one for one in todo if (one[0], one[2]) not in known]
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        for done in as_completed([pool.submit(record, config, *one) for one in todo]):
            rows.append(rounded(done.result()))
            with partial.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
            click.echo(f"{len(rows)} of {SEEDS * count} trainings", err=True)
    rows.sort(key=lambda row: (row["setting"], row["seed"]))
    document = {
        "space": space,
        "profile": profile,
        "set": list(changed),
        "metric": config.metric.name,
        "max_kimg": config.scheduler.max_kimg,
        "rows": rows,
    }
    table.write_bytes(gzip.compress(json.dumps(document, separators=(",", ":")).encode(), mtime=0))
    partial.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
