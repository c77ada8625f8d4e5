"""The event log: one JSON object a line, appended and flushed to disk before anything else hears of it.

A line that was torn by a crash can only be the last one: it is cut off when the log is opened for writing and skipped
when it is read. Damage anywhere else is reported with its line, and nothing is overwritten.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import datetime, timezone
from math import isfinite
from pathlib import Path
from typing import Any

from tune_app.errors import InputError

Event = dict[str, Any]
Listener = Callable[[Event], None]


def utc_now() -> str:
    """The time as the log writes it: UTC, ISO 8601, to the millisecond."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def read(path: Path) -> list[Event]:
    """Every whole event of the log at `path`; raises InputError where a line other than the last is damaged."""
    return _parse(path, path.read_bytes())[0] if path.exists() else []


class EventLog:
    """The log of one experiment, open for appending; listeners hear of an event once it is on disk."""

    def __init__(self, path: Path, *, clock: Callable[[], str] = utc_now) -> None:
        raw = path.read_bytes() if path.exists() else b""
        self.events, whole = _parse(path, raw)
        self._clock = clock
        self._file = path.open("ab")
        if whole < len(raw):
            self._file.truncate(whole)
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
        """Write one event, flush it to disk, tell the listeners. Raises OSError when the disk takes no more."""
        entry: Event = {"event": event, "time": self._clock(), **plain(fields)}
        self._file.write(json.dumps(entry, allow_nan=False, separators=(",", ":")).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.events.append(entry)
        for listener in self._listeners:
            listener(entry)
        return entry

    def close(self) -> None:
        self._file.close()


def plain(value: Any) -> Any:
    """`value` as JSON can hold it; a number that is not finite becomes null."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not isfinite(value):
        return None
    return value


def _parse(path: Path, raw: bytes) -> tuple[list[Event], int]:
    """The events in `raw` and how many of its bytes are whole lines."""
    whole = raw.rfind(b"\n") + 1
    events = []
    for number, line in enumerate(raw[:whole].splitlines(), start=1):
        try:
            event = json.loads(line)
            if not isinstance(event, dict) or "event" not in event:
                raise ValueError
        except ValueError:
            raise InputError(
                f"{path}:{number}: this line of the event log is damaged",
                hint="nothing was changed; restore the file from a copy, or remove the line if you know what it was",
            ) from None
        events.append(event)
    return events, whole
