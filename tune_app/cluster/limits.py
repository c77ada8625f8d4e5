"""The limits of this machine that a private Ray meets: open files and shared memory."""

import os
import resource
import shutil
import sys
from pathlib import Path

from trainables.cpus import cpus
from tune_app.errors import InputError

SHM = Path("/dev/shm")  # noqa: S108 (Ray's folder, only looked at)
OBJECT_STORE_BYTES = 256 * 2**20
FILES, FILES_PER_CPU = 80, 4
"""Open files of Ray's largest process, with some to spare: 58 on 2 CPUs, and 2 or 3 more for each further one."""


def files_needed() -> int:
    """Return the number of open files that a process of a sweep on this machine may need."""
    return FILES + FILES_PER_CPU * cpus()


def open_files() -> int | None:
    """Return the most open files that a process may have, or None without a limit. Ray raises the soft limit itself."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return None if hard == resource.RLIM_INFINITY else hard


def check_open_files() -> None:
    """Raise InputError if Ray's processes could not open as many files as they need. They would end without a word."""
    limit, needed = open_files(), files_needed()
    if limit is not None and limit < needed:
        raise InputError(
            f"open files: a process may open {limit} here, and a sweep on {cpus()} CPUs needs {needed}",
            hint="raise the limit with `ulimit -Hn 65536` as root, or with --ulimit nofile=65536 of `docker run`",
        )


def shared_memory_fault() -> str:
    """Return why Ray's object store cannot be in /dev/shm, or an empty string. Not every system has that folder."""
    if sys.platform != "linux":
        return ""
    try:
        free = shutil.disk_usage(SHM).free
    except OSError:
        return f"{SHM} is missing"
    if not os.access(SHM, os.W_OK | os.X_OK):
        return f"{SHM} cannot be written"
    if free < OBJECT_STORE_BYTES:
        return f"{SHM} has only {free / 2**20:.0f} MiB free"
    return ""
