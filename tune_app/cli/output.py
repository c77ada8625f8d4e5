"""Printing: text or one JSON document on stdout, messages beside a document on stderr."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from tune_app.cli.heartbeat import heartbeat, something_was_printed
from tune_app.errors import TuneAppError
from tune_app.formatting import escaped

if TYPE_CHECKING:
    from tune_app.trackers.console import Quiet


def show(document: object, lines: Sequence[str], *, as_json: bool) -> None:
    """Print the document as JSON, or the lines."""
    if as_json:
        lines = [json.dumps(document, indent=2, allow_nan=False)]
    if lines:
        print_text("\n".join(lines))


def say(lines: Sequence[str], *, quiet: bool) -> None:
    """Print messages: on stdout, or on stderr if stdout is for a JSON document."""
    for line in lines:
        print_text(line, err=quiet)


def print_text(text: str, *, err: bool = False) -> None:
    """Print with unprintable characters escaped."""
    # not click.echo, which goes around our stream on an ASCII terminal and exits when the reader leaves
    print(escaped(text), file=sys.stderr if err else sys.stdout, flush=True)


class PatientStream:
    """A text stream that outlives its reader: once the reader of a pipe or the terminal is gone, output is discarded.

    Characters that the stream cannot encode are escaped. Raise TuneAppError if the disk is full.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        """Write the text."""
        something_was_printed()
        with self._reader_may_leave():
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        with self._reader_may_leave():
            self._stream.flush()

    @contextmanager
    def _reader_may_leave(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):
                raise TuneAppError(f"the output cannot be written: {error.strerror}") from None
            with open(os.devnull, "w") as nothing:  # noqa: PTH123 (not a file of ours)
                os.dup2(nothing.fileno(), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def shown_progress(first: str = "starting") -> Iterator[None]:
    """Show how far the long steps of the block are: in one line of a terminal, or in lines on stderr."""
    if not sys.stdout.isatty():  # rich would move what we print to its own stream
        with heartbeat(first):
            yield
        return
    from rich.console import Console

    from trainables.progress import listening

    status = Console().status(first)
    with status, listening(lambda line: status.update(escaped(line))):
        yield


@contextmanager
def sweep_console(*, quiet: bool) -> Iterator[Quiet]:
    """Yield the live table on a terminal, plain lines elsewhere."""
    from tune_app.trackers.console import Plain
    from tune_app.trackers.live_table import LiveTable

    if not quiet and sys.stdout.isatty():
        yield LiveTable()
        return
    with heartbeat():
        yield Plain(to_stderr=quiet)
