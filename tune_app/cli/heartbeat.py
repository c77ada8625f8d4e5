"""Lines on stderr that show what a command is doing, for output that is no terminal."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from trainables.progress import listening
from tune_app.formatting import clock, escaped

SILENT_SECONDS, LONGEST_SECONDS = 1.5, 60.0
"""A line comes after so much silence. With the time that it takes to notice, no silence lasts two seconds.

The wait doubles with each line that would say the same again, up to LONGEST_SECONDS: a night has 20,000 such silences.
"""
POLL_SECONDS = 0.2
START_SECONDS = 0.5
"""The interpreter has been silent for so long when a command begins."""


class Heartbeat:
    """Prints what is being done when nothing was printed for some time."""

    def __init__(self, first: str) -> None:
        self.doing = first
        self._wait = SILENT_SECONDS
        self._over = threading.Event()
        self._began = time.monotonic()
        self._printed = self._began - START_SECONDS

    def set_doing(self, line: str) -> None:
        """Remember what is being done now."""
        if line != self.doing:
            self._wait = SILENT_SECONDS
        self.doing = line

    def printed(self) -> None:
        """Remember that something was printed just now."""
        self._printed = time.monotonic()

    def stop(self) -> None:
        """Print no more lines."""
        self._over.set()

    def beat(self) -> None:
        """Print lines until `stop` is called. This runs in a thread."""
        while not self._over.wait(POLL_SECONDS):
            if time.monotonic() - self._printed >= self._wait:
                self.printed()
                self._wait = min(2 * self._wait, LONGEST_SECONDS)
                with suppress(OSError, ValueError):  # the command goes on without these lines
                    print(
                        f"[{clock(time.monotonic() - self._began)}] {escaped(self.doing)}", file=sys.stderr, flush=True
                    )


_running: list[Heartbeat] = []


def something_was_printed() -> None:
    """Tell a running heartbeat that the command has printed something itself."""
    for one in _running:
        one.printed()


@contextmanager
def heartbeat(first: str = "starting") -> Iterator[Heartbeat]:
    """Print on stderr what is being done while the block runs, whenever it has been silent for some time."""
    made = Heartbeat(first)
    thread = threading.Thread(target=made.beat, daemon=True)
    _running.append(made)
    thread.start()
    try:
        with listening(made.set_doing):
            yield made
    finally:
        made.stop()
        thread.join()
        _running.remove(made)
