"""Commands for models of your own: models, init, check-model."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from tune_app.cli.completion import complete_model
from tune_app.cli.options import as_json, assigned, models_option
from tune_app.cli.output import say, show
from tune_app.cli.root import cli

data_option = click.option("--data", default="shapes", show_default=True, help="The images to train on.")
resolution_option = click.option(
    "--resolution", type=int, default=16, show_default=True, help="Side of an image in pixels."
)


@cli.command()
@click.argument("model", required=False, shell_complete=complete_model)
@models_option
@as_json
def models(model: str | None, as_json: bool) -> None:
    """List the models, or the parameters and metrics of MODEL."""
    from tune_app.commands.check_model import known_model
    from tune_app.commands.list_models import all_models, model_lines, models_document

    names = [model] if model else all_models()
    for name in names if model or as_json else ():
        known_model(name)
    lines = [line for name in names for line in model_lines(name, whole=model is not None)]
    show(models_document(names) if as_json else {}, lines, as_json=as_json)


@cli.command("check-model")
@click.argument("model", shell_complete=complete_model)
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="A parameter; small values check faster.")
@data_option
@resolution_option
@models_option
@as_json
def check_model(model: str, sets: tuple[str, ...], data: str, resolution: int, as_json: bool) -> None:
    """Check that MODEL keeps the contract: seeds, resuming, shapes, the sampling budget. Exit 1 if it does not."""
    from tune_app.commands.check_model import check_model as stage

    outcomes = []
    for outcome in stage(model, assigned(sets), data, resolution):
        outcomes.append(outcome)
        say([outcome.line()], quiet=as_json)
    passed = all(outcome.passed for outcome in outcomes)
    document = {"model": model, "passed": passed, "checks": [outcome.as_json() for outcome in outcomes]}
    show(document, [f"{model} keeps the contract" if passed else f"{model} breaks the contract"], as_json=as_json)
    sys.exit(0 if passed else 1)


@cli.group()
def init() -> None:
    """Write the files to start with: a model of your own, or a space for a model."""


@init.command("model")
@click.argument("name")
@click.option("--out", type=click.Path(path_type=Path), default=".", metavar="DIR", help="Folder; default: this one.")
@as_json
def init_model(name: str, out: Path, as_json: bool) -> None:
    """Write NAME.py, NAME.yaml and test_NAME.py: a small model that runs as it stands."""
    from tune_app.commands.init import init_lines, write_model

    written = write_model(name, out)
    show({"files": [str(path) for path in written]}, init_lines(name, written), as_json=as_json)


@init.command("space")
@click.argument("model", shell_complete=complete_model)
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Default: MODEL.yaml in this folder.")
@models_option
@as_json
def init_space(model: str, out: Path | None, as_json: bool) -> None:
    """Write a space file for MODEL, made from its parameters."""
    from tune_app.commands.init import write_space

    path = write_space(model, out or Path(f"{model}.yaml"))
    show({"files": [str(path)]}, [f"wrote {path}; next: python -m tune_app plan {path}"], as_json=as_json)
