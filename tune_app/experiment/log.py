"""The event log: one JSON object a line, appended and flushed to disk before anything else hears of it.

A line that was torn by a crash can only be the last one: it is cut off when the log is opened for writing and skipped
when it is read. Damage anywhere else is reported with its line, and nothing is overwritten.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from math import isfinite
from pathlib import Path
from typing import Any

from tune_app.errors import InputError, StorageError
from tune_app.experiment.events import check

Event = dict[str, Any]
Listener = Callable[[Event], None]
MOST_BYTES = 1_000_000
"""The longest line; a real one has some hundreds."""


def utc_now() -> str:
    """The time as the log writes it: UTC, ISO 8601, to the millisecond."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def read(path: Path) -> list[Event]:
    """Every whole event of the log at `path`; raises InputError where a line other than the last is damaged."""
    return _parse(path, _bytes(path))[0]


class Tail:
    """A log that another process writes, read as it grows."""

    def __init__(self, path: Path) -> None:
        self._path, self._read = path, 0

    def new(self) -> list[Event]:
        """The whole events since the last call."""
        with self._path.open("rb") as file:
            file.seek(self._read)
            raw = file.read()
        whole = raw.rfind(b"\n") + 1
        self._read += whole
        return [json.loads(line) for line in raw[:whole].splitlines()]


class EventLog:
    """The log of one experiment, open for appending; listeners hear of an event once it is on disk."""

    def __init__(self, path: Path, *, clock: Callable[[], str] = utc_now) -> None:
        self.events, self._size = _parse(path, _bytes(path))
        self._path, self._clock = path, clock
        self._file = path.open("ab", buffering=0)
        self._file.truncate(self._size)
        self._listeners: list[Listener] = []

    def subscribe(self, listener: Listener) -> None:
        """Replay what the log holds to `listener`, then keep it told: live and replay go through the same code."""
        for event in self.events:
            listener(event)
        self.listen(listener)

    def listen(self, listener: Listener) -> None:
        """Tell `listener` of what is appended from now on."""
        self._listeners.append(listener)

    def append(self, event: str, **fields: Any) -> Event:
        """Write one event, flush it to disk, tell the listeners. Raises StorageError when it cannot be written."""
        entry: Event = {"event": event, "time": self._clock(), **plain(fields)}
        try:
            self._write(json.dumps(entry, allow_nan=False, separators=(",", ":")).encode() + b"\n")
        except OSError as error:
            with suppress(OSError):  # a later event must not continue half a line
                self._file.truncate(self._size)
            raise StorageError.of(error, self._path) from None
        self.events.append(entry)
        for listener in self._listeners:
            listener(entry)
        return entry

    def close(self) -> None:
        self._file.close()

    def _write(self, line: bytes) -> None:
        if not os.path.samestat(os.fstat(self._file.fileno()), self._path.stat()):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self._path))
        written = 0
        while written < len(line):
            written += self._file.write(line[written:])
        os.fsync(self._file.fileno())
        self._size += len(line)


def plain(value: Any) -> Any:
    """`value` as JSON can hold it; a number that is not finite becomes null."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not isfinite(value):
        return None
    return value


def _bytes(path: Path) -> bytes:
    """The file's content, nothing where there is none; raises InputError where it cannot be read."""
    if not path.exists():
        return b""
    if not path.is_file():
        raise InputError(f"{path}: this is no file, so no event log")
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: the event log cannot be read ({error.strerror})") from None


def _parse(path: Path, raw: bytes) -> tuple[list[Event], int]:
    """The events in `raw` and how many of its bytes are whole lines."""
    whole = raw.rfind(b"\n") + 1
    events: list[Event] = []
    going: dict[str, bool] = {}
    for number, line in enumerate(raw[:whole].splitlines(), start=1):
        try:
            events.append(_event(line, going))
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{path}:{number}: this line of the event log is damaged: {error}",
                hint="nothing was changed; restore the file from a copy, or remove the line if you know what it was",
            ) from None
    return events, whole


def _event(line: bytes, going: dict[str, bool]) -> Event:
    """The event in `line`. `going`: each trial asked for so far, and whether it has yet to end; kept current."""
    if len(line) > MOST_BYTES:
        raise ValueError(f"it is longer than {MOST_BYTES} bytes")
    event: Event = json.loads(line)
    check(event)
    kind = event["event"]
    if kind.startswith("sweep_"):
        return event
    trial = event["trial"]
    if kind == "asked" and trial != f"{len(going):04d}":
        raise ValueError(f"trial {trial} is asked for where {len(going):04d} would be next")
    if kind == "rechecked":  # the one thing that happens to a trial after its end
        if going.get(trial) is not False:
            raise ValueError(f"`{kind}`: trial {trial} has not ended")
        return event
    if kind != "asked" and not going.get(trial):
        raise ValueError(f"`{kind}`: trial {trial} has ended before, or was never asked for")
    going[trial] = kind != "ended"
    return event
