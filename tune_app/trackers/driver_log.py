"""The file driver.log of an experiment: every line that the driver printed, with its time."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path

from tune_app.config.schema import SweepConfig
from tune_app.errors import TuneAppError
from tune_app.experiment.events import Event
from tune_app.experiment.folder import Experiment
from tune_app.experiment.records import Records
from tune_app.formatting import escaped
from tune_app.trackers.console import Plain, Quiet


class DriverLog(Plain):
    """Console that appends its lines to driver.log. It keeps the lines in memory until there is an experiment."""

    def __init__(self) -> None:
        self._waiting: list[str] = []
        self._path: Path | None = None

    def begin(self, config: SweepConfig, experiment: Experiment, records: Records, slots: int) -> None:
        self.open(experiment)
        super().begin(config, experiment, records, slots)

    def open(self, experiment: Experiment) -> None:
        """Write into this experiment from now on."""
        self._path = experiment.driver_log
        self._write(self._waiting)
        self._waiting.clear()

    def note(self, line: str) -> None:
        stamped = f"{datetime.now(timezone.utc).isoformat(timespec='seconds')} {escaped(line)}\n"
        if self._path is None:
            self._waiting.append(stamped)
        else:
            self._write([stamped])

    def _write(self, lines: list[str]) -> None:
        assert self._path
        with suppress(OSError), self._path.open("a", encoding="utf-8") as file:  # the sweep goes on without it
            file.writelines(lines)


class RecordedConsole(Quiet):
    """A console whose lines go to driver.log as well."""

    def __init__(self, console: Quiet) -> None:
        self._console, self._log = console, DriverLog()

    def begin(self, config: SweepConfig, experiment: Experiment, records: Records, slots: int) -> None:
        self._log.begin(config, experiment, records, slots)
        self._console.begin(config, experiment, records, slots)

    def event(self, event: Event) -> None:
        self._log.event(event)
        self._console.event(event)

    def note(self, line: str) -> None:
        self._log.note(line)
        self._console.note(line)

    def progress(self, line: str) -> None:
        self._console.progress(line)

    def pulse(self) -> None:
        self._console.pulse()

    def end(self) -> None:
        self._console.end()

    def leave(self, line: str) -> None:
        self._log.leave(line)
        self._console.leave(line)

    @contextmanager
    def recorded_errors(self) -> Iterator[None]:
        """Write an error that ends the block to driver.log. Unless it is a TuneAppError, write its traceback."""
        try:
            yield
        except TuneAppError as error:
            self._log.note(f"error: {error}" + (f" ({error.hint})" if error.hint else ""))
            raise
        except Exception:
            for line in traceback.format_exc().splitlines():
                self._log.note(line)
            raise
        finally:
            self._console.end()
