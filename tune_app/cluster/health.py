"""Watch the Ray that a sweep runs on, and wait for its tasks."""

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from tune_app.errors import TuneAppError
from tune_app.formatting import clock

PROCESSES = {"raylet": "Ray's local node", "gcs_server": "Ray's control process"}
POLL_SECONDS, NOTE_SECONDS = 1.0, 60.0
PATIENCE_SECONDS = 20.0
"""Seconds in which the main thread must notice that Ray has died and end the rest of Ray."""
START_SECONDS = 50.0
"""Seconds that Ray may take to start. Ray itself gives up after 30 to 60 seconds."""


def dead_process() -> str:
    """Return the name of a dead process of our private Ray, empty if there is none. A joined cluster is not checked."""
    # not an import: this also runs in a thread, and two threads that import ray at once disturb each other
    node = getattr(sys.modules.get("ray._private.worker"), "_global_node", None)
    started = node.all_processes if node else {}
    for kind, name in PROCESSES.items():
        if any(one.process.poll() is not None for one in started.get(kind, [])):
            return name
    return ""


class DeathWatch:
    """Ends this process if our Ray has died but the main thread hangs in a call to Ray that cannot be interrupted.

    Ray itself would end the process after a minute, with its own message.
    """

    def __init__(self, hint: str) -> None:
        self.hint = hint
        """Hint that is printed before the process ends."""
        self.connected = False
        """True once Ray has started. Before that, the start itself is timed."""
        self._over = threading.Event()

    def start(self) -> None:
        """Watch from now on."""
        threading.Thread(target=self._watch, daemon=True).start()

    def end(self) -> None:
        """Watch no longer."""
        self._over.set()

    def _watch(self) -> None:
        dead = starting = 0.0
        while not self._over.wait(POLL_SECONDS):
            process = dead_process()
            dead = dead + POLL_SECONDS if process else 0.0
            starting = 0.0 if self.connected else starting + POLL_SECONDS
            if dead >= PATIENCE_SECONDS:
                self._leave(f"{process} died, and Ray does not answer")
            if starting >= START_SECONDS:
                self._leave(f"Ray did not start within {START_SECONDS:g} s")

    def _leave(self, why: str) -> None:
        print(f"error: {why}\n  hint: {self.hint}", file=sys.stderr, flush=True)
        os._exit(1)


def results(tasks: list[Any], what: str, note: Callable[[str], None]) -> list[Any]:
    """Return the results of Ray tasks. Every minute, note `what` is awaited. Raise TuneAppError if our Ray dies."""
    import ray

    began = said = time.monotonic()
    while ray.wait(tasks, num_returns=len(tasks), timeout=POLL_SECONDS)[1]:
        if process := dead_process():
            raise TuneAppError(f"{process} died while {what}", hint="run the same command again")
        if time.monotonic() - said >= NOTE_SECONDS:
            said = time.monotonic()
            note(f"still {what}, for {clock(said - began)}")
    return list(ray.get(tasks))
