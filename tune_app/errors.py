"""The tree of errors: what a user is told, and the exit code that goes with it."""

from __future__ import annotations

import errno
from dataclasses import dataclass


class TuneAppError(Exception):
    """It ran and failed; `hint` is the next step to take."""

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InputError(TuneAppError):
    """The input was wrong and nothing ran."""

    exit_code = 2


class StorageError(TuneAppError):
    """A disk that takes no more, or is gone; what is in the log stays, and the sweep can be carried on."""

    @classmethod
    def of(cls, error: OSError, path: object) -> StorageError:
        """The sentence for what the operating system said of `path`."""
        why = {
            errno.ENOSPC: "the disk is full",
            errno.EDQUOT: "the quota on the disk is used up",
            errno.EFBIG: "the file would exceed the size allowed",
            errno.EROFS: "the file system has become read-only",
            errno.ENOENT: "it is no longer where it was",
        }.get(error.errno or 0, f"the storage fails ({error.strerror or error})")
        return cls(f"{error.filename or path}: {why}", hint="mend that, then resume; all that was reported is kept")


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a configuration; where: `file:line:column`, or the option that said it."""

    where: str
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" + (f"\n  hint: {self.hint}" if self.hint else "")


class ConfigError(InputError):
    """A configuration was refused; the message has a line for each problem, its hint below it."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def first_line(error: BaseException) -> str:
    """Return the first line of an error, at most 300 characters."""
    text = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    return str(text).splitlines()[0][:300]
