"""The errors that a user sees, each with its exit code."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path


class TuneAppError(Exception):
    """Something ran and failed. `hint` is the next step to take."""

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class RayDiedError(TuneAppError):
    """A process of Ray died. The log keeps all reports, and the sweep can be resumed."""


class SweepFailedError(TuneAppError):
    """Every trial of a sweep failed. `folder` is its experiment, whose `driver.log` and `trials/` say why."""

    def __init__(self, message: str, folder: Path) -> None:
        super().__init__(message, hint=f"{folder}/trials/ID/error.txt has the traceback of each trial")
        self.folder = folder


class InputError(TuneAppError):
    """The input was wrong, and nothing ran."""

    exit_code = 2


class StorageError(TuneAppError):
    """The experiment cannot be written any more. The log keeps what it has, and the sweep can be resumed."""

    @classmethod
    def of(cls, error: OSError, path: object) -> StorageError:
        """Return the error with a sentence for the operating system's error about `path`."""
        why = {
            errno.ENOSPC: "the disk is full",
            errno.EDQUOT: "the quota on the disk is used up",
            errno.EFBIG: "the file would exceed the size allowed",
            errno.EROFS: "the file system has become read-only",
            errno.ENOENT: "the file or folder no longer exists",
        }.get(error.errno or 0, f"the storage fails ({error.strerror or error})")
        return cls(f"{error.filename or path}: {why}", hint="fix this, then resume; all reports are kept")


@dataclass(frozen=True)
class Problem:
    """One mistake in a configuration. `where` is `file:line:column`, or an option."""

    where: str
    message: str
    hint: str | None = None
    key: str = ""
    """Key of the configuration, with which the message begins."""

    def as_json(self) -> dict[str, str | int | None]:
        """Return the JSON object of the problem. `file`, `line` and `column` are null for an option."""
        file, line, column = ([*self.where.rsplit(":", 2), "", ""])[:3]
        placed = line.isdecimal() and column.isdecimal()
        return {
            "file": file if placed else None,
            "line": int(line) if placed else None,
            "column": int(column) if placed else None,
            "option": None if placed else self.where or None,
            "key": self.key or None,
            "message": self.message.removeprefix(f"{self.key}: "),
            "hint": self.hint,
        }

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" + (f"\n  hint: {self.hint}" if self.hint else "")


class ConfigError(InputError):
    """A configuration was refused. The message has a line for each problem, with its hint below."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def first_line(error: BaseException) -> str:
    """Return the first line of an error, at most 300 characters."""
    text = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    return str(text).splitlines()[0][:300]
