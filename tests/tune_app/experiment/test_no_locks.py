"""File systems without file locks are refused before anything starts."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path

import pytest

from tune_app.cluster.scratch import socket_folder
from tune_app.errors import InputError
from tune_app.experiment.lock import resume_lock
from tune_app.experiment.out_folder import check_writable


@pytest.fixture(autouse=True)
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_file: object, _operation: int) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)


def test_an_experiments_folder_without_locks_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"out: its file system has no file locks \(flock\)") as caught:
        check_writable(tmp_path / "out")
    assert "--out" in str(caught.value.hint)
    assert not list(tmp_path.iterdir())


def test_a_resume_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be locked"), resume_lock(tmp_path):
        pass


def test_ray_needs_a_temporary_folder_with_locks() -> None:
    with pytest.raises(InputError, match="has no file locks"):
        socket_folder()
