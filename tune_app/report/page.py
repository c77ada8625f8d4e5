"""report.html: the answer of a sweep as one page, which needs no network."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from search_spaces.distributions import Scalar
from trainables.files import write_file
from tune_app.answer.retraining import metric_table, other_metrics
from tune_app.answer.summary import Summary, summarise
from tune_app.answer.text import answer_sentences
from tune_app.config.load import dump
from tune_app.config.schema import SweepConfig
from tune_app.experiment.events import Event
from tune_app.experiment.folder import Experiment
from tune_app.experiment.forecast import outcome
from tune_app.experiment.fresh_values import FreshValues
from tune_app.experiment.log import read
from tune_app.experiment.ranking import ranked
from tune_app.experiment.records import Records, TrialRecord
from tune_app.formatting import clock, short
from tune_app.report.figures import charts
from tune_app.report.pictures import pictures
from tune_app.report.study import searched_values
from tune_app.report.template import render


@dataclass(frozen=True)
class Row:
    """A trial in the table."""

    trial: str
    state: str
    source: str
    kimg: str
    value: str
    fresh: str
    seconds: str
    params: list[str]
    links: list[tuple[str, str]]
    """Name and path of the trial's pictures and of its error, relative to the experiment."""
    error: str


def write_report(experiment: Experiment) -> None:
    """Write the report of an experiment, as far as its sweep has come. Raise OSError if it cannot be written."""
    events = read(experiment.events)
    records, config = Records(events), experiment.config()
    summary = summarise(experiment, config, records, events)
    write_file(experiment.report, page(experiment, config, records, events, summary).encode())


def page(
    experiment: Experiment, config: SweepConfig, records: Records, events: Sequence[Event], summary: Summary
) -> str:
    """Return the page."""
    return render(
        "page.html",
        charts(config, records, events, summary),
        title=f"{config.name}: {summary.state}",
        summary=summary,
        sentences=answer_sentences(summary),
        tables=_tables(summary),
        pictures=pictures(experiment, records.searched, summary),
        names=[*config.parameters],
        rows=_rows(experiment, config, records),
        facts=_facts(experiment, config, records, summary),
        commands=_commands(experiment, config, summary),
        yaml=dump(config),
    )


def _tables(summary: Summary) -> list[list[list[str]]]:
    """Return the tables of a retraining."""
    answer = summary.retraining
    return [table for table in (metric_table(answer), other_metrics(answer)) if len(table) > 1] if answer else []


def _rows(experiment: Experiment, config: SweepConfig, records: Records) -> list[Row]:
    metric = config.metric.name
    fresh = FreshValues(ranked(records.trials.values(), metric), metric)
    return [_row(experiment, config, record, fresh) for record in records.trials.values()]


def _row(experiment: Experiment, config: SweepConfig, record: TrialRecord, fresh: FreshValues) -> Row:
    value, again, searched = record.value(fresh.metric), fresh.get(record.id), searched_values(config, record)
    links = [(name, path) for rung in record.rungs[-1:] for name, path in rung.pictures.items()]
    links += [
        (f"{name}, re-evaluated", path) for name, path in (record.recheck.pictures if record.recheck else {}).items()
    ]
    if experiment.error_file(record.id).is_file():
        links.append(("error", experiment.relative(experiment.error_file(record.id))))
    return Row(
        trial=record.id,
        state=f"{record.state} ({record.reason})" if record.reason else record.state,
        source=f"trial {record.retrains} again" if record.retrains else record.source,
        kimg=f"{record.kimg:g}",
        value="" if value is None else f"{value:.4g}",
        fresh="" if again is None else f"{again.mean:.4g} ± {again.estimate.stderr:.2g}",
        seconds=f"{record.seconds:.0f}",
        params=[short(searched[name]) if name in searched else "" for name in config.parameters],
        links=links,
        error=record.failures[-1].message if record.failures else "",
    )


def _facts(experiment: Experiment, config: SweepConfig, records: Records, summary: Summary) -> Mapping[str, str]:
    """Return what was spent, what it was made with, and what it depends on."""
    cost = summary.cost
    planned = config.scheduler.max_kimg * len(records.searched)
    limits = {name: value for name, value in config.budget.model_dump().items() if value is not None}
    facts: dict[str, str] = {
        "experiment": str(experiment.folder),
        "trials": ", ".join(f"{count} {state}" for state, count in summary.trials.items()),
        "time on the clock": clock(3600 * cost["hours"]),
        "forecast against outcome": _outcome(records),
        "training": f"{cost['kimg']:g} kimg; without early stopping it had been {planned:g} for the search",
        "CPU hours, GPU hours": f"{cost['cpu_hours']:.2f}, {cost['gpu_hours']:.2f}",
        "budget": ", ".join(f"{name} {value:g}" for name, value in limits.items()) or "none",
        "seed": str(config.search.seed),
        "images": records.data,
        "features": ", ".join(f"{name} {print_}" for name, print_ in records.features.items()),
        "versions": ", ".join(f"{name} {version}" for name, version in records.versions.items()),
    }
    return {name: text for name, text in facts.items() if text}


def _outcome(records: Records) -> str:
    if records.forecast is None:
        return ""
    cost = records.cost()
    return outcome(records.forecast, cost["hours"] + (records.preparation or 0.0) / 3600, cost["gpu_hours"])


def _commands(experiment: Experiment, config: SweepConfig, summary: Summary) -> Mapping[str, str]:
    """Return the commands that repeat the sweep and train the winner once more."""
    place = " ".join([shlex.quote(str(experiment.sweep_yaml)), "--profile none", *experiment.model_options])
    commands = {"the sweep again": f"python -m tune_app run {place}"}
    if summary.best and config.model in ("ncsn", "beta_vae"):
        commands["the winner, trained once"] = " ".join(_train_command(config, summary.best.params))
    return commands


def _train_command(config: SweepConfig, params: Mapping[str, Scalar]) -> list[str]:
    data = config.data.name + (f":{config.data.path}" if config.data.path else "")
    given = {**config.constants, **params}
    options = [f"--{name} {shlex.quote(str(value).lower() if isinstance(value, bool) else str(value))}"
               for name, value in given.items()]  # fmt: skip
    where = f"--data {shlex.quote(data)} --resolution {config.data.resolution} --seed {config.search.seed}"
    where += f" --channels {config.data.channels}" + (" --resize" if config.data.resize else "")
    return [f"python -m tune_app train {config.model} {where}", *options]
