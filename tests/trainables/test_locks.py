"""A lock keeps other processes out and ends with its holder, also where the file system has no flock."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainables.locks import holder_file, lock

HOLD = """
import errno, fcntl, sys
def no_flock(file, operation):
    raise OSError(int(sys.argv[2]), "not supported")
fcntl.flock = no_flock
from pathlib import Path
from trainables.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("code", [errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK], ids=errno.errorcode.get)
def test_without_flock_a_live_holder_keeps_others_out_and_a_dead_one_does_not(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_flock(file: int, operation: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", no_flock)
    path = tmp_path / ".lock"
    command = [sys.executable, "-c", HOLD, str(path), str(code)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with path.open() as file, pytest.raises(BlockingIOError), lock(file.fileno(), path, fcntl.LOCK_NB):
            pass
        holder.kill()
    assert holder_file(path).exists()
    with path.open() as file, lock(file.fileno(), path, fcntl.LOCK_EX | fcntl.LOCK_NB):
        pass
    assert not holder_file(path).exists()


def test_another_error_of_flock_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(file: int, operation: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", broken)
    path = tmp_path / "lock"
    with path.open("w") as file, pytest.raises(OSError, match="Input/output"), lock(file.fileno(), path):
        pass
