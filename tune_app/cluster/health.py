"""The health of the Ray that a sweep runs on, and waiting for its tasks."""

import time
from collections.abc import Callable
from typing import Any

from tune_app.errors import TuneAppError
from tune_app.formatting import clock

PROCESSES = {"raylet": "Ray's local node", "gcs_server": "Ray's control process"}
POLL_SECONDS, NOTE_SECONDS = 1.0, 60.0


def dead_process() -> str:
    """Return the process of our private Ray that has died, empty if none has. Of a joined cluster nothing is known."""
    from ray._private import worker

    started = worker._global_node.all_processes if worker._global_node else {}
    for kind, name in PROCESSES.items():
        if any(one.process.poll() is not None for one in started.get(kind, [])):
            return name
    return ""


def results(tasks: list[Any], what: str, note: Callable[[str], None]) -> list[Any]:
    """Return the results of Ray tasks. Every minute, say `what` is awaited. Raise TuneAppError if our Ray dies."""
    import ray

    began = said = time.monotonic()
    while ray.wait(tasks, num_returns=len(tasks), timeout=POLL_SECONDS)[1]:
        if process := dead_process():
            raise TuneAppError(f"{process} died while {what}", hint="run the same command again")
        if time.monotonic() - said >= NOTE_SECONDS:
            said = time.monotonic()
            note(f"still {what}, for {clock(said - began)}")
    return list(ray.get(tasks))
