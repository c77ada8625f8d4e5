"""Every error ends in a sentence and an exit code."""

import sys
from typing import NoReturn

import click

from tune_app.cli.output import PatientStream, print_text
from tune_app.cli.root import cli
from tune_app.errors import TuneAppError


def main() -> NoReturn:
    """Run the command line and exit: 0 done, 1 it ran and failed, 2 the input was wrong, 130 interrupted."""
    sys.stdout, sys.stderr = PatientStream(sys.stdout), PatientStream(sys.stderr)
    try:
        cli.main(standalone_mode=False, complete_var="_TUNE_APP_COMPLETE")
    except click.ClickException as error:
        error.show()
        if split := _split_by_the_shell(sys.argv[1:]):
            print_text(f"  hint: the shell has split {split[0]} ...: put it in quotes: {split[1]}", err=True)
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except TuneAppError as error:
        _raise_if_debugging(error)
        print_text(f"error: {error}", err=True)
        if error.hint:
            print_text(f"  hint: {error.hint}", err=True)
        sys.exit(error.exit_code)
    except Exception as error:
        _raise_if_debugging(error)
        print_text(f"error: {type(error).__name__}: {error}", err=True)
        click.echo("  hint: this is a bug in tune_app; `tune_app --debug ...` shows where", err=True)
        sys.exit(1)
    sys.exit(0)


def _split_by_the_shell(words: list[str]) -> tuple[str, str] | None:
    """Return the first word of a list or block that was written without quotes, and the whole of it in quotes."""
    for start, word in enumerate(words):
        value = word.partition("=")[2]
        closing = {"[": "]", "{": "}"}.get(value[:1])
        if closing and closing not in value:
            end = next((i for i, later in enumerate(words) if i > start and closing in later), start)
            return word, "'" + " ".join(words[start : end + 1]) + "'"
    return None


def _raise_if_debugging(error: BaseException) -> None:
    if "--debug" in sys.argv[1:]:
        raise error
