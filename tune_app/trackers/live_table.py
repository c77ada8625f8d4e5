"""The live table of a running sweep on a terminal."""

from __future__ import annotations

import time
from math import inf
from typing import TYPE_CHECKING

from trainables.catalog import sign
from tune_app.config.schema import SweepConfig
from tune_app.experiment.events import Event, Reported
from tune_app.experiment.folder import Experiment
from tune_app.experiment.ranking import best
from tune_app.experiment.records import Records, TrialRecord
from tune_app.formatting import clock, short
from tune_app.plan import trial_count
from tune_app.trackers.console import Quiet, opening_lines, rung_value

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

REFRESH_SECONDS = 0.5
MOST_ROWS = 18


class LiveTable(Quiet):
    """A table that is redrawn twice a second: running trials, then the best of the others."""

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console

        self._console = console or Console()
        self._live: Live | None = None

    def begin(self, config: SweepConfig, experiment: Experiment, records: Records, slots: int) -> None:
        from rich.live import Live

        self._config, self._records, self._slots = config, records, slots
        self._trusted: dict[float, bool] = {}
        self._began = self._drawn = time.monotonic()
        for line in opening_lines(experiment, records, slots):
            self.note(line)
        self._live = Live(self.table(), console=self._console, auto_refresh=False)
        self._live.start()

    def note(self, line: str) -> None:
        self._console.print(line, style="dim", highlight=False, markup=False)

    def event(self, event: Event) -> None:
        if isinstance(event, Reported) and event.trusted is not None:
            self._trusted[event.kimg] = event.trusted

    def pulse(self) -> None:
        if self._live and time.monotonic() - self._drawn >= REFRESH_SECONDS:
            self._drawn = time.monotonic()
            self._live.update(self.table(), refresh=True)

    def end(self) -> None:
        if self._live:
            self._live.update(self.table(), refresh=True)
            self._live.stop()
            self._live = None

    def table(self) -> Table:
        """Return the table of the moment."""
        from rich.table import Table

        metric = self._config.metric.name
        table = Table(title=self._title(), caption=self._caption(), title_justify="left", caption_justify="left")
        for column in ("trial", "state", "kimg", metric, *self._config.parameters):
            table.add_column(column, justify="left" if column == "state" else "right")
        leader = best(self._records.trials.values(), metric)
        for record in self._rows():
            style = {"failed": "red", "stopped": "dim"}.get(record.state, "")
            table.add_row(*self._cells(record, metric), style="bold green" if record is leader else style)
        return table

    def _cells(self, record: TrialRecord, metric: str) -> list[str]:
        values = {**record.params, **(record.rungs[-1].sampling if record.rungs else {})}
        state = record.state if record.state != "failed" else f"failed: {record.reason}"
        searched = [short(values[name]) if name in values else "" for name in self._config.parameters]
        return [record.id, state, f"{record.kimg:g}", rung_value(record, metric), *searched]

    def _rows(self) -> list[TrialRecord]:
        metric = self._config.metric.name
        records = list(self._records.trials.values())
        running = [record for record in records if not record.ended]
        ended = sorted((r for r in records if r.ended), key=lambda r: (-r.kimg, _cost(r, metric)))
        return running[:MOST_ROWS] + ended[: max(0, MOST_ROWS - len(running))]

    def _title(self) -> str:
        counts = self._records.counts
        states = ", ".join(
            f"{counts[state]} {state}" for state in ("running", "completed", "stopped", "failed") if counts[state]
        )
        asked = f"{len(self._records.trials)} of {trial_count(self._config)} trials asked"
        return f"{self._config.name}: {asked}; {states or 'starting'}"

    def _caption(self) -> str:
        elapsed = time.monotonic() - self._began
        ahead = seconds_left(self._config, self._records, self._slots)
        left = f", about {clock(ahead)} left at most" if ahead else ""
        ladder = ", ".join(f"{rung:g}{self._trust_mark(rung)}" for rung in self._config.rungs)
        return f"rungs (kimg): {ladder}; {clock(elapsed)} elapsed{left}"

    def _trust_mark(self, rung: float) -> str:
        return {True: " trusted", False: " not yet trusted", None: ""}[self._trusted.get(rung)]


def seconds_left(config: SweepConfig, records: Records, slots: int) -> float | None:
    """Return the seconds left if no more trial is stopped early, or None before the first report."""
    trials = records.trials.values()
    trained = sum(record.kimg for record in trials)
    if not trained:
        return None
    seconds_per_kimg = sum(record.seconds for record in trials) / trained
    length = config.scheduler.max_kimg
    left = sum(length - record.kimg for record in trials if not record.ended)
    left += length * (trial_count(config) - len(records.trials))
    return seconds_per_kimg * left / slots


def _cost(record: TrialRecord, metric: str) -> float:
    value = record.value(metric)
    return inf if value is None else sign(metric) * value
