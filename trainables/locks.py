"""Locks between processes, also on file systems without `flock`, as some network mounts are."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

NO_FLOCK = {errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK, errno.EINVAL}
SECONDS_TO_TAKE_OVER = 0.5
"""How long a lock that does not wait may take to replace the lock of a dead process."""


@contextmanager
def lock(descriptor: int, path: Path, operation: int = fcntl.LOCK_EX) -> Iterator[None]:
    """Hold the lock on the open file at `path`. The system releases it when this process dies.

    Raise BlockingIOError if another process holds it and `operation` has LOCK_NB. Without `flock` the holder is named
    in the file `holder_file(path)`. Such a lock is always exclusive. A dead holder of this machine does not count.
    """
    try:
        fcntl.flock(descriptor, operation)
    except OSError as error:
        if error.errno not in NO_FLOCK:
            raise
    else:
        yield
        return
    with _holder_named(holder_file(path), wait=not operation & fcntl.LOCK_NB):
        yield


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, waiting for other processes. The lock ends when the holder dies."""
    with path.open("a") as file, lock(file.fileno(), path):
        yield


def holder_file(path: Path) -> Path:
    """Return the file that names the process and machine holding the lock `path` where there is no `flock`."""
    return path.with_name(f"{path.name}.holder")


@contextmanager
def _holder_named(path: Path, *, wait: bool) -> Iterator[None]:
    from filelock import SoftFileLock, Timeout

    holder = SoftFileLock(path)
    try:
        holder.acquire(timeout=-1 if wait else SECONDS_TO_TAKE_OVER)
    except Timeout:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), str(path)) from None
    try:
        yield
    finally:
        holder.release()


def has_locks(folder: Path) -> bool:
    """Return True if the file system of a writable folder has file locks. Some network file systems have none."""
    with TemporaryFile(dir=folder) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True
