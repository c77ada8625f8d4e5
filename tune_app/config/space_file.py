"""The space file that a name stands for."""

from pathlib import Path

import search_spaces
from tune_app.config.checks import nearest
from tune_app.errors import InputError

SHIPPED = Path(search_spaces.__file__).parent
"""Folder of the space files that ship with the package."""


def find_space(path: str | Path) -> Path:
    """Return the file at `path`, or else the shipped one of that name. Raise InputError if there is neither."""
    path = Path(path)
    if path.is_file():
        return path
    if path.name == str(path) and (SHIPPED / path).is_file():
        return SHIPPED / path
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a space file")
    shipped = sorted(file.name for file in SHIPPED.glob("*.yaml"))
    raise InputError(f"{path}: there is no such file, and no shipped file has that name", nearest(path.name, shipped))
