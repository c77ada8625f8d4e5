"""What a person sees while a sweep runs: a live table on a terminal, one plain line per event in a pipe, or nothing."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from trainables.catalog import sign
from tune_app.config.schema import SweepConfig
from tune_app.experiment.folder import Experiment
from tune_app.experiment.log import Event
from tune_app.experiment.records import Records, TrialRecord, best
from tune_app.formatting import clock, short
from tune_app.plan import trial_count

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

REFRESH_SECONDS = 0.5
ROWS = 18


class Quiet:
    """Shows nothing; the interface of every console."""

    def begin(self, config: SweepConfig, experiment: Experiment, records: Records, slots: int) -> None:
        """A session starts: `records` stays current while it runs, `slots` trials run at once."""

    def event(self, event: Event) -> None:
        """The log holds one more event."""

    def note(self, line: str) -> None:
        """Something that a person should know, once."""

    def pulse(self) -> None:
        """Called about ten times a second."""

    def end(self) -> None:
        """The session is over; the terminal is given back."""


class Plain(Quiet):
    """One line an event, to stdout or, beside --json, to stderr."""

    def __init__(self, *, to_stderr: bool = False) -> None:
        self._stream = sys.stderr if to_stderr else sys.stdout

    def begin(self, config: SweepConfig, experiment: Experiment, records: Records, slots: int) -> None:
        self._config, self._records, self._began = config, records, time.monotonic()
        for line in opening(experiment, records, slots):
            self._say(line)

    def note(self, line: str) -> None:
        self._say(line)

    def event(self, event: Event) -> None:
        line = self._line(event)
        if line:
            self._say(f"[{clock(time.monotonic() - self._began)}] {line}")

    def _say(self, line: str) -> None:
        print(line, file=self._stream, flush=True)

    def _line(self, event: Event) -> str:
        kind, trial = event["event"], event.get("trial", "")
        if kind == "asked":
            searched = {name: value for name, value in event["params"].items() if name in self._config.parameters}
            return f"{trial} asked ({event['source']}): {assignments(searched)}"
        if kind == "reported" and event["rung"]:
            record = self._records.trials[trial]
            trusted = {True: ", rung trusted", False: ", rung not yet trusted", None: ""}[event.get("trusted")]
            metric = self._config.metric.name
            value = f"{metric} {measured(record, metric)}"
            return f"{trial} at {event['kimg']:g} kimg: {value} -> {event['decision']}{trusted}"
        if kind == "failed":
            share = f" with {event['gpu']:g} of a GPU" if "gpu" in event else ""
            again = f"; trying again{share}" if event["retry"] else ""
            return f"{trial} failed ({event['kind']}): {event['message']}{again}"
        if kind == "rechecked":
            return f"{trial} measured again: {metric_again(self._records.trials[trial], self._config.metric.name)}"
        if kind == "ended":
            return f"{trial} {event['state']} at {event['kimg']:g} kimg ({event['reason']})"
        return ""


class Terminal(Quiet):
    """A table that redraws itself twice a second."""

    _live: Live | None = None

    def begin(self, config: SweepConfig, experiment: Experiment, records: Records, slots: int) -> None:
        from rich.console import Console
        from rich.live import Live

        self._config, self._records, self._slots = config, records, slots
        self._trusted: dict[float, bool] = {}
        self._began = self._drawn = time.monotonic()
        self._console = Console()
        for line in opening(experiment, records, slots):
            self.note(line)
        self._live = Live(self._table(), console=self._console, auto_refresh=False)
        self._live.start()

    def note(self, line: str) -> None:
        self._console.print(line, style="dim", highlight=False, markup=False)

    def event(self, event: Event) -> None:
        if event.get("trusted") is not None:
            self._trusted[event["kimg"]] = event["trusted"]

    def pulse(self) -> None:
        if self._live and time.monotonic() - self._drawn >= REFRESH_SECONDS:
            self._drawn = time.monotonic()
            self._live.update(self._table(), refresh=True)

    def end(self) -> None:
        if self._live:
            self._live.update(self._table(), refresh=True)
            self._live.stop()
            self._live = None

    def _table(self) -> Table:
        from rich.table import Table

        metric = self._config.metric.name
        table = Table(title=self._title(), caption=self._caption(), title_justify="left", caption_justify="left")
        for column in ("trial", "state", "kimg", metric, *self._config.parameters):
            table.add_column(column, justify="left" if column == "state" else "right")
        leader = best(self._records.trials.values(), metric)
        for record in self._shown():
            table.add_row(*self._row(record, metric), style="bold green" if record is leader else _style(record))
        return table

    def _row(self, record: TrialRecord, metric: str) -> list[str]:
        values = {**record.params, **(record.rungs[-1].sampling if record.rungs else {})}
        state = record.state if record.state != "failed" else f"failed: {record.reason}"
        searched = [short(values[name]) if name in values else "" for name in self._config.parameters]
        return [record.id, state, f"{record.kimg:g}", measured(record, metric), *searched]

    def _shown(self) -> list[TrialRecord]:
        """Those running, then the best of the rest."""
        metric = self._config.metric.name
        records = list(self._records.trials.values())
        running = [record for record in records if not record.ended]
        rest = sorted((r for r in records if r.ended), key=lambda r: (-r.kimg, _cost(r, metric)))
        return running[:ROWS] + rest[: max(0, ROWS - len(running))]

    def _title(self) -> str:
        counts = self._records.counts
        states = ", ".join(
            f"{counts[state]} {state}" for state in ("running", "completed", "stopped", "failed") if counts[state]
        )
        asked = f"{len(self._records.trials)} of {trial_count(self._config)} trials asked"
        return f"{self._config.name}: {asked}; {states or 'starting'}"

    def _caption(self) -> str:
        elapsed = time.monotonic() - self._began
        ahead = expected(self._config, self._records, self._slots)
        left = f", about {clock(ahead)} left at most" if ahead else ""
        ladder = ", ".join(f"{rung:g}{self._mark(rung)}" for rung in self._config.rungs)
        return f"rungs (kimg): {ladder}; {clock(elapsed)} elapsed{left}"

    def _mark(self, rung: float) -> str:
        if rung not in self._trusted:
            return ""
        return " trusted" if self._trusted[rung] else " not yet trusted"


def opening(experiment: Experiment, records: Records, slots: int) -> list[str]:
    """What a session begins with: where, how much at once, and of one that goes on, what it found and what changed."""
    lines = [f"experiment {experiment.folder}, {slots} trials at once"]
    if records.trials:
        ended = len(records.trials) - len(records.unfinished)
        lines.append(f"carrying on: {ended} trials have ended, {len(records.unfinished)} go on from their checkpoints")
    if records.set_back:
        lines.append(
            f"the clock was set back: the log already holds {records.set_back}; `latest` may name an older experiment"
        )
    lines += [
        f"changed: {key} from {short(before)} to {short(after)}" for key, (before, after) in records.changed.items()
    ]
    return lines


def expected(config: SweepConfig, records: Records, slots: int) -> float | None:
    """Seconds left if no more trial is stopped early, from the pace so far; None before the first report."""
    trials = records.trials.values()
    done = sum(record.kimg for record in trials)
    if not done:
        return None
    pace = sum(record.seconds for record in trials) / done
    length = config.scheduler.max_kimg
    left = sum(length - record.kimg for record in trials if not record.ended)
    left += length * (trial_count(config) - len(records.trials))
    return pace * left / slots


def measured(record: TrialRecord, metric: str) -> str:
    """The metric at the trial's last rung, with its standard error where it has one."""
    value = record.value(metric)
    if value is None:
        return ""
    error = record.rungs[-1].metrics.get(f"{metric}_stderr")
    return f"{value:.4g}" + (f" ± {error:.2g}" if error is not None else "")


def metric_again(record: TrialRecord, metric: str) -> str:
    """Mean and standard error over the fresh draws of a trial that was measured again."""
    found = record.recheck.estimate(metric) if record.recheck else None
    return f"{metric} {found[0]:.4g} ± {found[1]:.2g}" if found else f"no {metric}"


def assignments(params: dict[str, Any]) -> str:
    return ", ".join(f"{name}={short(value)}" for name, value in params.items())


def _style(record: TrialRecord) -> str:
    return {"failed": "red", "stopped": "dim"}.get(record.state, "")


def _cost(record: TrialRecord, metric: str) -> float:
    value = record.value(metric)
    return float("inf") if value is None else sign(metric) * value
