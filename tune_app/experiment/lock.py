"""The resume lock: one driver at a time runs an experiment."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from trainables.locks import holder_file, lock
from tune_app.errors import InputError

RESUME_LOCK, WANDB_LOCK = ".lock", ".wandb.lock"


@contextmanager
def resume_lock(folder: Path, name: str = RESUME_LOCK, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock file `name` of an experiment folder. The system releases it when this process dies.

    If another process holds it, wait if `wait` is set, else raise InputError that names the process.
    """
    path = folder / name
    try:
        opened = path.open("a+")
    except OSError as error:
        raise InputError(f"{path}: cannot be locked ({error.strerror or error})") from None
    with opened as file, ExitStack() as held:
        try:
            held.enter_context(lock(file.fileno(), path, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)))
        except BlockingIOError:
            file.seek(0)
            left = holder_file(path)
            raise InputError(
                f"{folder}: another process runs this experiment ({file.read().strip() or 'unknown'})",
                hint="wait until it ends, or stop it first"
                + (f"; if it is dead, for instance with its machine, remove {left}" if left.exists() else ""),
            ) from None
        except OSError as error:
            raise InputError(f"{path}: cannot be locked ({error.strerror or error})") from None
        file.truncate(0)
        file.write(f"host {socket.gethostname()}, pid {os.getpid()}")
        file.flush()
        yield


def is_running(folder: Path) -> bool:
    """Return True if a driver runs the experiment in `folder` now."""
    try:
        path = folder / RESUME_LOCK
        with path.open() as file, lock(file.fileno(), path, fcntl.LOCK_SH | fcntl.LOCK_NB):
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold a lock on the folder itself, waiting for other processes that hold it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with lock(descriptor, folder / ".lock"):
            yield
    finally:
        os.close(descriptor)
