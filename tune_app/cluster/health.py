"""Watch the Ray that a sweep runs on, and wait for its tasks."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tune_app.errors import TuneAppError, first_line
from tune_app.formatting import clock

PROCESSES = {"raylet": "Ray's local node", "gcs_server": "Ray's control process"}
POLL_SECONDS, NOTE_SECONDS = 1.0, 60.0
PATIENCE_SECONDS = 20.0
"""Seconds in which the main thread must notice that Ray has died and end the rest of Ray."""
START_SECONDS = 50.0
"""Seconds that Ray may take to start. Ray itself gives up after 30 to 60 seconds."""
HEAD_SECONDS = 35.0
"""Seconds for which the head of a joined cluster may be silent. A head that keeps its state in Redis may come back."""
ANSWER_SECONDS = 3.0
_joined: list[JoinedCluster] = []
"""The cluster that we have joined, if any."""


def dead_process() -> str:
    """Return the name of a process of our Ray that has died, empty if there is none."""
    if _joined:
        return _joined[0].dead
    # no import: this also runs in a thread while the main thread imports ray, and two imports at once can fail
    node = getattr(sys.modules.get("ray._private.worker"), "_global_node", None)
    started = node.all_processes if node else {}
    for kind, name in PROCESSES.items():
        if any(one.process.poll() is not None for one in started.get(kind, [])):
            return name
    return ""


class JoinedCluster:
    """The two servers without which a driver cannot go on: the cluster's head, and Ray's node on this machine."""

    def __init__(self, head: str, node: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._head, self._node, self._clock = head, node, clock
        self._heard = clock()
        self._head_lost = False

    @property
    def silence(self) -> float:
        """Seconds since the head last answered."""
        return self._clock() - self._heard

    @property
    def dead(self) -> str:
        """Name of the server that has died, empty if both live."""
        head = f"the head of the cluster ({self._head})"
        if not self._head_lost and _refuses(self._node):
            # the driver may run on the head, which then dies as a whole
            return head if _refuses(self._head) else f"Ray's node on this machine ({self._node})"
        return head if self._head_lost else ""

    def look(self) -> None:
        """Check that the head answers."""
        began = self._clock()
        if _answers(self._head):
            self._heard = began
        self._head_lost = self.silence >= HEAD_SECONDS


def _answers(address: str) -> bool:
    try:
        _connect(address)
    except OSError:
        return False
    return True


def _refuses(address: str) -> bool:
    """Return True if the machine answers and no process listens there."""
    try:
        _connect(address)
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


def _connect(address: str) -> None:
    host, _, port = address.rpartition(":")
    socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS).close()


class DeathWatch:
    """Ends this process if our Ray has died but the main thread hangs in a call to Ray that cannot be interrupted.

    Ray itself would end the process after a minute, with its own message.
    """

    def __init__(self, hint: str) -> None:
        self.hint = hint
        """Hint that is printed before the process ends."""
        self.last_words: Callable[[], object] = lambda: None
        """Is called before the process ends, to log the end of the session."""
        self.connected = False
        """True once Ray has started. Before that, the start itself is timed."""
        self._over = threading.Event()

    def start(self) -> None:
        """Watch from now on."""
        threading.Thread(target=self._watch, daemon=True).start()

    def start_joined(self) -> None:
        """Watch the cluster that this process has joined."""
        import ray

        context = ray.get_runtime_context()
        node = next(one for one in ray.nodes() if one["NodeID"] == context.get_node_id())
        _joined[:] = [JoinedCluster(context.gcs_address, f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}")]
        self.connected = True
        self.start()

    @property
    def silence(self) -> float:
        """Seconds since the head of a joined cluster last answered. 0 for a private Ray."""
        return _joined[0].silence if _joined else 0.0

    def end(self) -> None:
        """Watch no longer."""
        self._over.set()
        _joined.clear()

    def _watch(self) -> None:
        dead = starting = 0.0
        while not self._over.wait(POLL_SECONDS):
            for joined in _joined:
                joined.look()
            process = dead_process()
            dead = dead + POLL_SECONDS if process else 0.0
            starting = 0.0 if self.connected else starting + POLL_SECONDS
            if dead >= PATIENCE_SECONDS:
                self._leave(f"{process} died, and Ray does not answer")
            if starting >= START_SECONDS:
                self._leave(f"Ray did not start within {START_SECONDS:g} s")

    def _leave(self, why: str) -> None:
        with suppress(Exception):  # the sentence below matters more
            self.last_words()
            sys.stdout.flush()
        print(f"error: {why}\n  hint: {self.hint}", file=sys.stderr, flush=True)
        os._exit(1)


def results(tasks: list[Any], what: str, note: Callable[[str], None]) -> list[Any]:
    """Return the results of Ray tasks. Every minute, note `what` is awaited.

    Raise RayTaskError if a task fails, and TuneAppError if its process or our Ray dies.
    """
    import ray
    from ray.exceptions import RayError, RayTaskError

    began = said = time.monotonic()
    while ray.wait(tasks, num_returns=len(tasks), timeout=POLL_SECONDS)[1]:
        if process := dead_process():
            raise TuneAppError(f"{process} died while {what}", hint="run the same command again")
        if time.monotonic() - said >= NOTE_SECONDS:
            said = time.monotonic()
            note(f"still {what}, for {clock(said - began)}")
    try:
        return list(ray.get(tasks))
    except RayTaskError:
        raise
    except RayError as error:  # the process was killed, perhaps because the machine ran out of memory
        raise TuneAppError(f"Ray failed while {what}: {first_line(error)}", hint="run the same command again") from None
