"""Files and folders that are written completely or not at all, and the hash of a file."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

UNFINISHED = ".unfinished-"
"""Prefix of a file or folder that is being written."""


def write_file(path: Path, content: bytes | str) -> None:
    """Write a file completely or not at all, and flush it to disk."""
    temporary = _temporary(path)
    with temporary.open("wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def write_json(path: Path, document: object) -> None:
    """Write a JSON file completely or not at all. Raise ValueError for a number that JSON cannot hold."""
    write_file(path, json.dumps(document, indent=2, allow_nan=False) + "\n")


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder to write into. At the end of the block, rename it to `folder`; after an error, remove it.

    Replace a `folder` that already exists. Flush the files, the folder and its parent to disk.
    """
    temporary = _temporary(folder)
    temporary.mkdir()
    try:
        yield temporary
        for path in (*temporary.iterdir(), temporary):
            _flush(path)
        old = temporary.with_name(f"{temporary.name}.old")
        if folder.exists():
            folder.rename(old)
        temporary.rename(folder)
        _flush(folder.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _temporary(path: Path) -> Path:
    return path.with_name(f"{UNFINISHED}{path.name}.{uuid4().hex[:8]}")


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
