"""The event log: one JSON object per line, flushed to disk before any listener is called.

A crash can damage only the last line. The reader skips a damaged last line, and opening the log for writing removes it.
Damage anywhere else is reported with its line number, and the file is left as it is.
"""

import errno
import json
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

from tune_app.errors import InputError, StorageError
from tune_app.experiment.events import Asked, Ended, Event, Rechecked, TrialEvent, parse_event

Listener = Callable[[Event], None]
MOST_BYTES = 1_000_000
"""Longest line that is read. Real lines have some hundred bytes."""


def utc_now() -> str:
    """Return the time as the log writes it: UTC, ISO 8601, to the millisecond."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def read(path: Path) -> list[Event]:
    """Return the events of the log at `path`. Raise InputError if a line other than the last is damaged."""
    return _parse(path, _read_bytes(path))[0]


class Tail:
    """Reader of a log that another process is writing."""

    def __init__(self, path: Path) -> None:
        self._path, self._position = path, 0

    def new(self) -> list[Event]:
        """Return the events written since the last call."""
        with self._path.open("rb") as file:
            file.seek(self._position)
            raw = file.read()
        end = raw.rfind(b"\n") + 1
        self._position += end
        return [parse_event(json.loads(line)) for line in raw[:end].splitlines()]


class EventLog:
    """The log of one experiment, open for appending."""

    def __init__(self, path: Path, *, clock: Callable[[], str] = utc_now) -> None:
        self.events, self._size = _parse(path, _read_bytes(path))
        self._path, self.now = path, clock
        try:
            self._file = path.open("ab", buffering=0)
            self._file.truncate(self._size)
        except OSError as error:
            raise InputError(f"{path}: the event log cannot be written ({error.strerror})") from None
        self._listeners: list[Listener] = []

    def subscribe(self, listener: Listener) -> None:
        """Call `listener` for every event of the log, then for each new one: live and replay share one code path."""
        for event in self.events:
            listener(event)
        self.listen(listener)

    def listen(self, listener: Listener) -> None:
        """Call `listener` for each new event."""
        self._listeners.append(listener)

    def append(self, event: Event) -> None:
        """Write one event, flush it to disk, then call the listeners. Raise StorageError if it cannot be written."""
        try:
            self._write(json.dumps(event.as_json(), allow_nan=False, separators=(",", ":")).encode() + b"\n")
        except OSError as error:
            with suppress(OSError):  # remove a partial line, else the next event would continue it
                self._file.truncate(self._size)
            raise StorageError.of(error, self._path) from None
        self.events.append(event)
        for listener in self._listeners:
            listener(event)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, line: bytes) -> None:
        if not os.path.samestat(os.fstat(self._file.fileno()), self._path.stat()):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self._path))
        written = 0
        while written < len(line):
            written += self._file.write(line[written:])
        os.fsync(self._file.fileno())
        self._size += len(line)


def _read_bytes(path: Path) -> bytes:
    """Return the file's content, empty if there is no file. Raise InputError if it cannot be read."""
    if not path.exists():
        return b""
    if not path.is_file():
        raise InputError(f"{path}: the event log must be a file")
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: the event log cannot be read ({error.strerror})") from None


def _parse(path: Path, raw: bytes) -> tuple[list[Event], int]:
    """Return the events in `raw` and the number of bytes in complete lines."""
    end = raw.rfind(b"\n") + 1
    events: list[Event] = []
    unfinished: dict[str, bool] = {}
    for number, line in enumerate(raw[:end].splitlines(), start=1):
        try:
            if len(line) > MOST_BYTES:
                raise ValueError(f"it is longer than {MOST_BYTES} bytes")
            events.append(parse_event(json.loads(line)))
            _check_order(events[-1], unfinished)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{path}:{number}: this line of the event log is damaged: {error}",
                hint="nothing was changed; restore the file from a copy, or remove the line if you know what it was",
            ) from None
    return events, end


def _check_order(event: Event, unfinished: dict[str, bool]) -> None:
    """Raise ValueError if the event cannot follow the earlier ones; keep `unfinished` (trial to state) current."""
    match event:
        case Asked(trial=trial, retrains=before):
            if before and unfinished.get(before) is not False:
                raise ValueError(f"`asked`: trial {before}, which it trains again, has not ended")
            if trial != f"{len(unfinished):04d}":
                raise ValueError(f"`asked`: trial {trial} was asked for, but trial {len(unfinished):04d} is next")
            unfinished[trial] = True
        case Rechecked(trial=trial):
            if unfinished.get(trial) is not False:
                raise ValueError(f"`rechecked`: trial {trial} has not ended")
        case TrialEvent(trial=trial):
            if not unfinished.get(trial):
                raise ValueError(f"`{event.event}`: trial {trial} has already ended or was never asked for")
            unfinished[trial] = not isinstance(event, Ended)
