"""Ray's own folder needs file locks; experiments do not, see tests/trainables/test_locks.py."""

from __future__ import annotations

import errno
import fcntl

import pytest

from tune_app.cluster.scratch import socket_folder
from tune_app.errors import InputError


def test_ray_needs_a_temporary_folder_with_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_file: object, _operation: int) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(InputError, match="has no file locks"):
        socket_folder()
