"""A private folder for Ray's files. It is removed at the end, or by the next driver if this one is killed."""

import atexit
import fcntl
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from secrets import token_hex

from trainables.locks import has_locks, lock
from tune_app.errors import InputError

PREFIX = "tune_app-"
SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 (a new private folder is made in one of them)
LONGEST_FOLDER = 20
"""The path of a socket has at most 107 bytes. Ray's own part of it has 64, and ours 23."""
_held = ExitStack()
"""Locks of this process. It holds them while it lives."""


@cache
def scratch_folder() -> Path:
    """Return this process's folder, with Ray's access token in the file `token`.

    Raise InputError if there is no place for it, and OSError if the disk is full.
    """
    base = socket_folder()
    for stale in base.glob(f"{PREFIX}*"):
        _remove_if_dead(stale)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
    (folder / "token").write_text(token_hex(32))
    file = _held.enter_context((folder / "locking").open("wb"))
    _held.enter_context(lock(file.fileno(), folder / "lock"))
    (folder / "locking").rename(folder / "lock")  # the lock is held as soon as it is visible
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def socket_folder() -> Path:
    """Return the temporary folder, or a shorter path if Ray's sockets need one. Raise InputError if there is none."""
    faults: dict[str, list[str]] = {}
    for folder in temporary_folders():
        if not (fault := _fault(folder)):
            return Path(folder)
        faults.setdefault(fault, []).append(folder)
    raise InputError(
        "no folder for Ray's sockets: " + "; ".join(f"{', '.join(found)} {why}" for why, found in faults.items()),
        hint=f"set TMPDIR to a local folder that can be written, with a path of at most {LONGEST_FOLDER} characters",
    )


def temporary_folders() -> list[str]:
    """Return the folders that Ray's files may be in, the best first."""
    with suppress(FileNotFoundError):  # Python finds none that can be written
        return [*dict.fromkeys((tempfile.gettempdir(), *SHORT_FOLDERS))]
    return [*SHORT_FOLDERS]


def _fault(folder: str) -> str:
    """Return why Ray's sockets cannot be in the folder, or an empty string."""
    if len(os.fsencode(folder)) > LONGEST_FOLDER:
        return f"has more than {LONGEST_FOLDER} characters"
    if not os.access(folder, os.W_OK | os.X_OK):
        return "cannot be written"
    return "" if has_locks(Path(folder)) else "has no file locks"


def _remove_if_dead(folder: Path) -> None:
    """Remove the folder of a dead driver, and end the agents that Ray leaves running for minutes."""
    with suppress(OSError):
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():
            return
        path = folder / "lock"
        with path.open("rb") as file, lock(file.fileno(), path, fcntl.LOCK_EX | fcntl.LOCK_NB):
            while left := [*_processes_in(folder)]:  # the raylet may start more meanwhile
                for process in left:
                    os.kill(process, signal.SIGKILL)
                time.sleep(0.05)
            shutil.rmtree(folder, ignore_errors=True)


def _processes_in(folder: Path) -> Iterator[int]:
    """Yield the processes with an open file below `folder`. All of Ray's have one. Without /proc, yield nothing."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # their environment is no use, because Ray writes a process name over it
            if any(folder in opened.readlink().parent.parents for opened in (process / "fd").iterdir()):
                yield int(process.name)
