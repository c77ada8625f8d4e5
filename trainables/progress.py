"""Progress of long steps: code that works reports it, and whoever waits listens."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

WATCH_SECONDS = 0.5
_listeners: list[Callable[[str], None]] = []


def report(line: str) -> bool:
    """Tell the listener how far a step is, such as `decoding images: 12,000 of 50,000`. Return False without one."""
    if _listeners:
        _listeners[-1](line)
    return bool(_listeners)


@contextmanager
def listening(listener: Callable[[str], None]) -> Iterator[None]:
    """Call `listener` with each report of this process while the block runs, also with those of other threads."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


@contextmanager
def growing_file(path: Path, what: str, megabytes: float) -> Iterator[None]:
    """Report the size of a file that the block downloads."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(WATCH_SECONDS):
            if path.is_file():
                report(f"{what}: {path.stat().st_size / 1e6:.0f} of {megabytes:.0f} MB")

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
