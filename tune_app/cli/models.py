"""Commands about single models: train, score."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tune_app.cli.completion import complete_model, complete_parameter
from tune_app.cli.options import as_json, assigned, out_option, seed_option
from tune_app.cli.output import say, show
from tune_app.cli.root import cli

if TYPE_CHECKING:
    from typing import Any


@cli.command()
@click.argument("model", shell_complete=complete_model)
@click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="KEY=VALUE",
    help="A parameter of the model, e.g. beta=4.0.",
    shell_complete=complete_parameter,
)
@click.option("--data", default="cifar10", show_default=True, help="cifar10, shapes, or folder:DIR.")
@click.option("--resolution", type=int, default=32, show_default=True, help="Side of an image in pixels.")
@click.option("--epochs", type=click.IntRange(min=1), default=200, show_default=True, help="Passes over the images.")
@seed_option
@out_option("Folder for the training run.")
@as_json
def train(as_json: bool, sets: tuple[str, ...], **options: Any) -> None:
    """Train MODEL once, without a sweep and without Ray."""
    from tune_app.commands.train import TrainRequest, train_once

    request = TrainRequest(sets=assigned(sets), **options)
    show(train_once(request, say=lambda line: say([line], quiet=as_json)), [], as_json=as_json)


@cli.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="What the file lacks, e.g. beta=4.0.")
@click.option("--data", help="cifar10, shapes, or folder:DIR; default: the checkpoint's, else cifar10.")
@click.option("--resolution", type=int, help="Side of an image in pixels; default: the checkpoint's, else 32.")
@click.option(
    "--samples",
    type=click.IntRange(min=16),
    default=2000,
    show_default=True,
    help="Images sampled for each sampling setting.",
)
@click.option(
    "--nfe", type=click.IntRange(min=1), default=100, show_default=True, help="Network evaluations for one image."
)
@seed_option
@as_json
def score(as_json: bool, sets: tuple[str, ...], **options: Any) -> None:
    """Evaluate CHECKPOINT as a trial is: ours, or a .pth file of the reference project."""
    from tune_app.commands.measure_checkpoint import MeasureRequest, measure_checkpoint, measurement_lines

    request = MeasureRequest(sets=assigned(sets), **options)
    document = measure_checkpoint(request, say=lambda line: say([line], quiet=True))
    show(document, measurement_lines(document), as_json=as_json)
