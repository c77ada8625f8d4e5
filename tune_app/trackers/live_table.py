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
from tune_app.formatting import brief, clock, escaped
from tune_app.plan import trial_count
from tune_app.trackers.console import Quiet, opening_lines, rung_value
from tune_app.trackers.time_left import seconds_left

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.status import Status

REFRESH_SECONDS = 0.5
FIXED = ("trial", "state", "kimg", "metric")
"""Columns that every terminal shows."""
FRAME_LINES = 6
"""Lines other than rows: title, head, two of the caption, one about hidden rows, and one for the cursor."""
GAP = 2
"""Spaces between two columns."""


class LiveTable(Quiet):
    """A table that is redrawn twice a second: running trials, then the best of the others."""

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console

        self._console = console or Console()
        self._live: Live | None = None
        self._waiting: Status | None = None
        """Shown with a spinner until the table is."""

    def begin(self, config: SweepConfig, experiment: Experiment, records: Records, slots: int) -> None:
        from rich.live import Live

        self._config, self._records, self._slots = config, records, slots
        self._trusted: dict[float, bool] = {}
        self._began = self._drawn = time.monotonic()
        for line in opening_lines(experiment, records, slots):
            self._print(line)
        self._stop_waiting()
        self._live = Live(self.table(), console=self._console, auto_refresh=False)
        self._live.start()

    def note(self, line: str) -> None:
        self._print(line)
        self.progress(line)

    def progress(self, line: str) -> None:
        from rich.text import Text

        text = Text(escaped(line), style="dim", no_wrap=True, overflow="ellipsis")
        if self._waiting:
            self._waiting.update(text)
        elif self._live is None:
            self._waiting = self._console.status(text)
            self._waiting.start()

    def _print(self, line: str) -> None:
        self._console.print(escaped(line), style="dim", highlight=False, markup=False)

    def _stop_waiting(self) -> None:
        if self._waiting:
            self._waiting.stop()
            self._waiting = None

    def event(self, event: Event) -> None:
        if isinstance(event, Reported) and event.trusted is not None:
            self._trusted[event.kimg] = event.trusted

    def pulse(self) -> None:
        if self._live and time.monotonic() - self._drawn >= REFRESH_SECONDS:
            self._drawn = time.monotonic()
            self._live.update(self.table(), refresh=True)

    def end(self) -> None:
        self._stop_waiting()
        if self._live:
            self._live.update(self.table(), refresh=True)
            self._live.stop()
            self._live = None

    def leave(self, line: str) -> None:
        self._stop_waiting()
        self._console.show_cursor()
        self._print(line)

    def table(self) -> Group:
        """Return the title, the current table and the caption, fitted to the terminal."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        metric, names = self._config.metric.name, [*self._config.parameters]
        rows, hidden = self._rows(max(1, self._console.height - FRAME_LINES))
        cells = [self._cells(record, metric) for record in rows]
        shown = self._columns(["trial", "state", "kimg", metric, *names], cells)
        dropped = len(FIXED) + len(names) - len(shown)
        table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")
        for column in shown:
            table.add_column(column, justify="left" if column == "state" else "right", no_wrap=True)
        if dropped:
            table.add_column(f"+{dropped} more", no_wrap=True)
        leader = best(self._records.trials.values(), metric, self._config.retraining)
        for record, row in zip(rows, cells, strict=True):
            style = {"failed": "red", "stopped": "dim"}.get(record.state, "")
            table.add_row(*row[: len(shown)], style="bold green" if record is leader else style)
        lines = [*([f"{hidden} more not shown"] if hidden else []), *self._caption()]
        plain = [Text(line, no_wrap=True, overflow="ellipsis", style="dim") for line in lines]
        return Group(Text(self._title(), no_wrap=True, overflow="ellipsis"), table, *plain)

    def _columns(self, names: list[str], cells: list[list[str]]) -> list[str]:
        """Return the columns that fit. The last ones are dropped first, the fixed ones never."""
        widths = [max(map(len, column)) + GAP for column in zip(names, *cells, strict=True)]
        room = self._console.width
        if sum(widths) <= room:
            return names
        kept = len(names)
        while kept > len(FIXED) and sum(widths[:kept]) + len(f"+{len(names) - kept} more") > room:
            kept -= 1
        return names[:kept]

    def _cells(self, record: TrialRecord, metric: str) -> list[str]:
        values = {**record.params, **(record.rungs[-1].sampling if record.rungs else {})}
        state = record.state if record.state != "failed" else f"failed: {record.reason}"
        searched = [escaped(brief(values[name])) if name in values else "" for name in self._config.parameters]
        return [record.id, state, f"{record.kimg:g}", rung_value(record, metric, brief), *searched]

    def _rows(self, room: int) -> tuple[list[TrialRecord], int]:
        """Return the trials that fit into `room` lines, running ones first, and the number of the others."""
        metric = self._config.metric.name
        records = list(self._records.trials.values())
        running = [record for record in records if not record.ended]
        ended = sorted((r for r in records if r.ended), key=lambda r: (-r.kimg, _cost(r, metric)))
        return [*running, *ended][:room], max(0, len(records) - room)

    def _title(self) -> str:
        counts = self._records.counts
        states = ", ".join(
            f"{counts[state]} {state}" for state in ("running", "completed", "stopped", "failed") if counts[state]
        )
        count = trial_count(self._config, self._records.added)
        asked = f"{len(self._records.searched)} of {count} trials asked"
        return f"{self._config.name}: {asked}; {states or 'starting'}"

    def _caption(self) -> list[str]:
        elapsed = time.monotonic() - self._began
        ahead = seconds_left(self._config, self._records, self._slots)
        left = f", about {clock(ahead)} left at most" if ahead else ""
        ladder = ", ".join(f"{rung:g}{self._trust_mark(rung)}" for rung in self._config.rungs)
        return [f"rungs (kimg): {ladder}", f"{clock(elapsed)} elapsed{left}"]

    def _trust_mark(self, rung: float) -> str:
        return {True: " trusted", False: " not yet trusted", None: ""}[self._trusted.get(rung)]


def _cost(record: TrialRecord, metric: str) -> float:
    value = record.value(metric)
    return inf if value is None else sign(metric) * value
