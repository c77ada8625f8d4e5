"""Commands about single models: train, score, sample, export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from trainables.catalog import MODELS
from tune_app.cli.completion import complete_experiment, complete_model, complete_parameter
from tune_app.cli.options import (
    DATA_HELP,
    Command,
    as_json,
    assigned,
    models_option,
    out_option,
    seed_option,
    wandb_option,
)
from tune_app.cli.output import say as print_lines
from tune_app.cli.output import show, shown_progress
from tune_app.cli.root import cli
from tune_app.cli.signals import stop_on_signal

if TYPE_CHECKING:
    from typing import Any

EPOCHS = 200


def parameter_options(command: Command) -> Command:
    """Add an option for each parameter of the models that train, as the reference project's scripts have them."""
    helps: dict[str, str] = {}
    defaults: dict[str, list[str]] = {}
    for model, entry in MODELS.items():
        for name, parameter in entry.parameters.items() if entry.uses_images else ():
            helps[name] = parameter.help
            defaults.setdefault(name, []).append(f"{model} {parameter.default}")
    for name, text in reversed(helps.items()):
        words = dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}"))
        shown = f"{text}  [default: {', '.join(defaults[name])}]"
        command = click.option(*words, name, metavar="VALUE", help=shown)(command)
    return command


@cli.command()
@click.argument("model", required=False, shell_complete=complete_model)
@click.option("--epochs", type=click.IntRange(min=1), help="Passes over the images; default 200.")
@click.option("--data", default="cifar10", show_default=True, help=DATA_HELP + ".")
@click.option("--resolution", type=int, help="Side of an image in pixels; default 32, and 16 for digits.")
@click.option("--channels", type=click.IntRange(1, 3), help="3: colours. 1: grayscale. Default 3, and 1 for digits.")
@click.option("--resize", is_flag=True, help="Scale and crop the images of a folder or npz to --resolution.")
@click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="KEY=VALUE",
    help="The same as --KEY VALUE.",
    shell_complete=complete_parameter,
)
@seed_option
@out_option("Folder for the training run.")
@click.option("--resume", type=click.Path(path_type=Path), metavar="DIR", help="Continue the training run in DIR.")
@wandb_option
@models_option
@as_json
@parameter_options
@click.pass_context
def train(context: click.Context, /, as_json: bool, **options: Any) -> None:
    """Train MODEL once, without a sweep and without Ray.

    Any parameter of the model is an option: tune_app train beta_vae --beta 4.0 --latent_dim 256 --epochs 200.
    """
    from tune_app.commands.train import TrainRequest, resume_training, train_once, training_lines

    def say(line: str) -> None:
        print_lines([line], quiet=as_json)

    with shown_progress(), stop_on_signal(say) as stopping:
        if options["resume"]:
            _check_alone(context, allowed={"resume", "epochs", "wandb", "as_json"})
            path, epochs, mode = options["resume"], options["epochs"], options["wandb"] or "auto"
            document = resume_training(path, epochs, mode, say, stopping)
        else:
            if options["model"] is None:
                raise click.UsageError("Missing argument 'MODEL'.")
            known = {name for model in MODELS.values() for name in model.parameters}
            given = {name: value for name, value in options.items() if name in known and value is not None}
            request = TrainRequest(
                **{name: options[name] for name in ("model", "data", "seed", "out")},
                **{name: options[name] for name in ("resolution", "channels", "resize")},
                epochs=options["epochs"] or EPOCHS,
                wandb=options["wandb"] or "auto",
                params={**assigned(options["sets"]), **given},
            )
            document = train_once(request, say, stopping)
    show(document, training_lines(document), as_json=as_json)


def _check_alone(context: click.Context, allowed: set[str]) -> None:
    """Raise UsageError if an option was given that a resumed training takes from its folder."""
    given = [
        name
        for name in context.params
        if name not in allowed and context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    ]
    if given:
        raise click.UsageError(f"--resume takes {', '.join(given)} from the folder: leave it out.")


@cli.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="What the file lacks, e.g. beta=4.0.")
@click.option("--data", help=DATA_HELP + "; default: the checkpoint's, else cifar10.")
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
@models_option
@as_json
def score(as_json: bool, sets: tuple[str, ...], **options: Any) -> None:
    """Evaluate CHECKPOINT as a trial is: ours, or a .pth file of the reference project."""
    from tune_app.commands.measure_checkpoint import MeasureRequest, measure_checkpoint, measurement_lines

    request = MeasureRequest(sets=assigned(sets), **options)
    with shown_progress():
        document = measure_checkpoint(request, say=lambda line: print_lines([line], quiet=True))
    show(document, measurement_lines(document), as_json=as_json)


source_argument = click.argument("source", metavar="EXP|CHECKPOINT", shell_complete=complete_experiment)
experiments_option = click.option(
    "--experiments",
    type=click.Path(path_type=Path),
    default="experiments",
    show_default=True,
    metavar="DIR",
    help="Folder in which `latest` and names are looked up.",
)
trial_option = click.option("--trial", metavar="ID", help="A trial of EXP; default: its winner.")


@cli.command()
@source_argument
@experiments_option
@trial_option
@click.option("--n", "count", type=click.IntRange(1, 100_000), default=64, show_default=True, help="Images to draw.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    show_default="samples.png",
    metavar="FILE",
    help="A grid (.png), or the images as an array (.npz).",
)
@click.option("--each", type=click.Path(path_type=Path), metavar="DIR", help="Also write one file for each image.")
@seed_option
@click.option("--nfe", type=click.IntRange(min=1), help="Network evaluations for one image; default: the sweep's.")
@click.option("--step-size", metavar="VALUE", help="Langevin step of an NCSN.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Another sampling value, e.g. sampler=heun.")
@click.option(
    "--animate",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="NCSN: the way from noise to images (.gif). Without --out, nothing else is written.",
)
@click.option("--reconstruct", is_flag=True, help="Beta-VAE: also held-out images above their reconstructions.")
@click.option("--traverse", is_flag=True, help="Beta-VAE: also one latent dimension in each row.")
@click.option("--interpolate", is_flag=True, help="Beta-VAE: also the way from one image to another.")
@models_option
@as_json
def sample(as_json: bool, sets: tuple[str, ...], step_size: str | None, **options: Any) -> None:
    """Draw images from the winner of EXP, from one of its trials, or from CHECKPOINT. Needs no Ray."""
    from tune_app.commands.sample import SampleRequest
    from tune_app.commands.sample import sample as stage

    flags = {"reconstruct": "reconstructions", "traverse": "traversal", "interpolate": "interpolation"}
    pictures = tuple(name for flag, name in flags.items() if options.pop(flag))
    given = {**assigned(sets), **({"step_size": step_size} if step_size else {})}
    with shown_progress():
        written = stage(SampleRequest(where=options.pop("source"), sampling=given, pictures=pictures, **options))
    show({"files": [str(path) for path in written]}, [f"wrote {path}" for path in written], as_json=as_json)


@cli.command()
@source_argument
@experiments_option
@trial_option
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="New folder for the model.")
@models_option
@as_json
def export(as_json: bool, source: str, experiments: Path, trial: str | None, out: Path) -> None:
    """Write the winner of EXP into a folder that needs no sweep: weights, description, model card, sample images."""
    from tune_app.commands.export import export as stage

    with shown_progress():
        folder = stage(source, experiments, trial, out)
    lines = [f"exported to {folder}; its README.md shows how to load it"]
    show({"folder": str(folder)}, lines, as_json=as_json)
