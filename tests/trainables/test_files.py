"""Atomic writes of files and folders, locks and hashes."""

from __future__ import annotations

import hashlib
import select
import subprocess
import sys
from pathlib import Path

import pytest

from trainables.files import new_folder, sha256_of, write_file, write_json
from trainables.locks import locked


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    write_file(path, "first")
    write_file(path, b"second")
    assert path.read_text() == "second"
    assert names(tmp_path) == ["summary.json"]


def test_a_number_that_json_cannot_hold_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    write_json(path, {"kid": 1.5})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"kid": float("nan")})
    assert path.read_text() == '{\n  "kid": 1.5\n}\n'


def test_a_folder_appears_whole_and_replaces_the_old_one(tmp_path: Path) -> None:
    for content in ("first", "second"):
        with new_folder(tmp_path / "checkpoint") as folder:
            (folder / content).write_text(content)
            assert content not in (names(tmp_path / "checkpoint") if (tmp_path / "checkpoint").exists() else [])
    assert names(tmp_path / "checkpoint") == ["second"]
    assert names(tmp_path) == ["checkpoint"]


def test_after_an_error_the_old_folder_stays_and_the_new_one_vanishes(tmp_path: Path) -> None:
    with new_folder(tmp_path / "checkpoint") as folder:
        (folder / "old").touch()
    with pytest.raises(OSError, match="full"), new_folder(tmp_path / "checkpoint"):
        raise OSError("the disk is full")
    assert names(tmp_path / "checkpoint") == ["old"]
    assert names(tmp_path) == ["checkpoint"]


def test_a_lock_keeps_other_processes_waiting_until_its_holder_dies(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from trainables.locks import locked
with locked(Path({str(tmp_path / "lock")!r})):
    print("locked", flush=True)
    input()
"""
    first = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert first.stdout
    assert first.stdout.readline() == "locked\n"
    second = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert second.stdout
    assert not select.select([second.stdout], [], [], 1.0)[0], "the second process waits"
    first.kill()
    first.communicate()
    assert second.stdout.readline() == "locked\n"
    second.communicate("\n")
    with locked(tmp_path / "lock"):
        pass


def test_the_hash_of_a_file_is_its_sha_256(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc" * 500_000)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(b"abc" * 500_000).hexdigest()
