"""The place of checkpoints: a folder, or an address that all nodes reach (s3:// and others of pyarrow or fsspec).

A place is a path or an address as a string. It never contains credentials: each node has its own.
"""

import errno
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from trainables.checkpoint import UnwritableError

RETRY_SECONDS = (1.0, 5.0, 15.0)


class UnreachableError(OSError):
    """A storage does not answer, so its content is unknown."""


def remote(place: str) -> bool:
    """Return True if `place` is an address and not a folder."""
    return "://" in place


def below(place: str, name: str) -> str:
    """Return the place `name` (a/b/c) in the folder `place`. The options of an address (?region=) stay at its end."""
    address, mark, options = place.partition("?") if remote(place) else (place, "", "")
    return f"{address.rstrip('/')}/{name}{mark}{options}"


def save(place: str, write: Callable[[Path], None]) -> None:
    """Call `write` to make a checkpoint, and put it at `place`. The checkpoint is complete once this returns.

    Raise UnwritableError.
    """
    if not remote(place):
        write(Path(place))
        return
    with TemporaryDirectory(prefix="tune_app-") as scratch, _writing(place):
        folder = Path(scratch) / "checkpoint"
        write(folder)
        from pyarrow import fs

        system, path = opened(place)
        system.create_dir(path)
        fs.copy_files(str(folder), path, source_filesystem=fs.LocalFileSystem(), destination_filesystem=system)


@contextmanager
def local(place: str) -> Iterator[Path]:
    """Yield `place` as a local folder.

    A remote place is downloaded and deleted on exit. The folder is empty if there is nothing at `place`. Raise
    UnreachableError if the storage does not answer after several tries.
    """
    if not remote(place):
        yield Path(place)
        return
    with TemporaryDirectory(prefix="tune_app-") as scratch:
        for pause in (*RETRY_SECONDS, None):
            try:
                _download(place, scratch)
                break
            except Exception as error:  # each file system of fsspec raises errors of its own
                if pause is None:
                    raise UnreachableError(f"{place} cannot be reached: {error}") from error
                time.sleep(pause)
        yield Path(scratch)


def _download(place: str, folder: str) -> None:
    from pyarrow import fs

    system, path = opened(place)
    if system.get_file_info(path).type == fs.FileType.NotFound:
        return
    with suppress(FileNotFoundError):  # removed meanwhile
        fs.copy_files(path, folder, source_filesystem=system, destination_filesystem=fs.LocalFileSystem())


def touch(place: str, content: bytes = b"") -> None:
    """Make a file. Raise UnwritableError."""
    with _writing(place):
        if remote(place):
            system, path = opened(place)
            system.create_dir(path.rpartition("/")[0])
            with system.open_output_stream(path) as stream:
                stream.write(content)
        else:
            Path(place).write_bytes(content)


def content(place: str) -> bytes | None:
    """Return the content of a file, or None if there is none."""
    with suppress(FileNotFoundError):
        if not remote(place):
            return Path(place).read_bytes()
        system, path = opened(place)
        with system.open_input_stream(path) as stream:
            return bytes(stream.read())
    return None


def exists(place: str) -> bool:
    if not remote(place):
        return Path(place).exists()
    from pyarrow.fs import FileType

    system, path = opened(place)
    return bool(system.get_file_info(path).type != FileType.NotFound)


def remove(place: str) -> None:
    """Remove a file, or a folder with everything in it. Ignore failures."""
    if not remote(place):
        shutil.rmtree(place, ignore_errors=True)
        Path(place).unlink(missing_ok=True)
        return
    from pyarrow.fs import FileType

    with suppress(OSError):
        system, path = opened(place)
        kind = system.get_file_info(path).type
        if kind == FileType.Directory:
            system.delete_dir(path)
        elif kind == FileType.File:
            system.delete_file(path)


def names(place: str) -> list[str]:
    """Return the names in a folder, none if there is no folder."""
    if not remote(place):
        return [path.name for path in Path(place).glob("*")]
    from pyarrow.fs import FileSelector

    system, path = opened(place)
    return [info.base_name for info in system.get_file_info(FileSelector(path, allow_not_found=True))]


@lru_cache(maxsize=64)
def opened(address: str) -> tuple[Any, str]:
    """Return the pyarrow file system of an address, and the path in it. Raise OSError, ValueError or ImportError."""
    from pyarrow import ArrowInvalid
    from pyarrow.fs import FileSystem, FSSpecHandler, PyFileSystem

    try:
        return FileSystem.from_uri(address)  # type: ignore[no-any-return]
    except ArrowInvalid as error:
        if "Unrecognized filesystem" not in str(error):
            raise
    from fsspec.core import url_to_fs

    system, path = url_to_fs(address)
    return PyFileSystem(FSSpecHandler(system)), path


@contextmanager
def _writing(place: str) -> Iterator[None]:
    try:
        yield
    except UnwritableError:
        raise
    except OSError as error:
        raise UnwritableError(error.errno or errno.EIO, error.strerror or str(error), place) from error
