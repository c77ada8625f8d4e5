"""Printing: text or one JSON document on stdout, messages beside a document on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

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
    """Print with unprintable characters escaped, so text from a file or a worker cannot move the cursor."""
    click.echo("".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text), err=err)


def make_console(*, quiet: bool) -> Quiet:
    """Return the live table on a terminal, plain lines elsewhere."""
    from tune_app.trackers.console import Plain
    from tune_app.trackers.live_table import LiveTable

    return Plain(to_stderr=quiet) if quiet or not sys.stdout.isatty() else LiveTable()
