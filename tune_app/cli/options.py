"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from tune_app.cli.completion import (
    complete_experiment,
    complete_key,
    complete_parameter,
    complete_profile,
    complete_space,
)
from tune_app.errors import InputError

KEYS = "Every key of SPACE is documented in docs/space.md. `python -m tune_app schema` prints them as a JSON schema."
"""Last line of the help of commands that read a space file."""
DATA_HELP = "cifar10, shapes, digits, folder:DIR or npz:FILE"
Command = TypeVar("Command", bound=Callable[..., object])

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
experiment_argument = click.argument("experiment", metavar="EXP", shell_complete=complete_experiment)
space_argument = click.argument("space", shell_complete=complete_space)
set_option = click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override any key, e.g. search.seed=1.",
    shell_complete=complete_key,
)
seed_option = click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of every random draw."
)
address_option = click.option(
    "--address",
    callback=lambda _context, _option, value: None if value == "local" else value,
    help="Ray cluster: host:port, auto (the one on this machine), or local (a private Ray, the default).",
)


def _add_models(context: click.Context, _option: click.Parameter, files: tuple[Path, ...]) -> None:
    if files and not context.resilient_parsing:
        from tune_app.config.plugins import add_model_files

        add_model_files(files)


models_option = click.option(
    "--models",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    expose_value=False,
    is_eager=True,
    callback=_add_models,
    help="Python file of your own models; see docs/models.md.",
)


def out_option(help: str) -> Callable[[Command], Command]:
    """Return the option --out with a help text."""
    return click.option(
        "--out", type=click.Path(path_type=Path), default="experiments", show_default=True, metavar="DIR", help=help
    )


wandb_option = click.option("--wandb", type=click.Choice(["auto", "online", "offline", "disabled"]), help="W&B mode.")
find_in_out = out_option("Folder in which `latest` and names are looked up.")


def selection_options(command: Command) -> Command:
    """Add the options of every command that reads a space file; see config.selection."""
    options = [
        click.option(
            "--profile",
            metavar="NAME",
            help="Overlay of the file; `none` uses the file as it stands.",
            shell_complete=complete_profile,
        ),
        set_option,
        click.option(
            "--fix",
            "fixes",
            multiple=True,
            metavar="NAME=VALUE",
            help="Fix a parameter instead of searching it.",
            shell_complete=complete_parameter,
        ),
        click.option("--data", metavar="NAME", help=DATA_HELP + "."),
        click.option("--trials", type=int, help="Number of trials."),
        click.option("--seed", type=int, help="Seed of every random draw."),
        out_option("Folder for experiments."),
        click.option("--name", help="Name of the experiment."),
        wandb_option,
        address_option,
        models_option,
    ]
    for option in reversed(options):
        command = option(command)
    return command


def assigned(sets: tuple[str, ...], option: str = "--set") -> dict[str, str]:
    """Return KEY=VALUE options as a mapping. Raise InputError for one that is not of this form."""
    pairs = {}
    for item in sets:
        key, equals, value = item.partition("=")
        if not equals or not key.strip():
            raise InputError(f"{option} {item}: expected KEY=VALUE")
        pairs[key.strip()] = value
    return pairs
