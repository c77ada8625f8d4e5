"""The folder that keeps decoded images and trained features for all sweeps of a user. Imports no torch."""

import os
import stat
import tempfile
from pathlib import Path

from trainables.contract import DataError


def cache_folder(given: Path | None = None) -> Path:
    """Return `given`, else $TUNE_APP_CACHE, else ~/.cache/tune_app, else a private temporary folder."""
    chosen = given or os.environ.get("TUNE_APP_CACHE")
    if chosen:
        folder = Path(chosen).resolve()
        if _writable(folder):
            return folder
        raise DataError(f"cache folder {folder} cannot be written: set TUNE_APP_CACHE to one that can")
    try:
        home = Path("~/.cache/tune_app").expanduser()
    except RuntimeError:  # the user has no home folder, as in some containers
        return _private_folder()
    return home if _writable(home) else _private_folder()


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def _private_folder() -> Path:
    try:
        folder = Path(tempfile.gettempdir()) / f"tune_app-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise DataError(f"there is no folder for the cache ({error}): set TUNE_APP_CACHE to one") from None
    status = folder.lstat()
    if stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077:
        return folder
    return Path(tempfile.mkdtemp(prefix="tune_app-"))  # another user took the name
