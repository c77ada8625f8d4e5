"""Commands about sweeps: run, plan, validate, resume, stop, enqueue, retrain, status, schema."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from trainables.progress import report
from tune_app.cli.completion import complete_parameter
from tune_app.cli.options import (
    KEYS,
    address_option,
    as_json,
    assigned,
    experiment_argument,
    find_in_out,
    models_option,
    out_option,
    selection_options,
    set_option,
    space_argument,
    wandb_option,
)  # fmt: skip
from tune_app.cli.output import say, show, shown_progress, sweep_console
from tune_app.cli.root import cli
from tune_app.errors import ConfigError, InputError, Problem

if TYPE_CHECKING:
    from typing import Any

    from tune_app.config.schema import SweepConfig
    from tune_app.config.selection import Selection
    from tune_app.experiment.folder import Experiment


@cli.command(epilog=KEYS)
@space_argument
@selection_options
@click.option("--resume", metavar="NAME", help="Resume the newest experiment of that name, or start it.")
@as_json
def run(as_json: bool, resume: str | None, **options: Any) -> None:
    """Run the sweep of SPACE."""
    from tune_app.config.images import look_at_images
    from tune_app.driver.sweep import resume_sweep, run_sweep
    from tune_app.experiment.out_folder import newest
    from tune_app.plan import make_plan, plan_lines

    selection = make_selection(options)
    selection = selection if resume is None else selection.renamed(resume)
    address = selection.address
    with sweep_console(quiet=as_json) as console:
        existing = None if resume is None else newest(selection.out, resume)
        if existing is not None:
            # keep its profile: another machine would choose another one
            config = selection.load(selection.profile or existing.profile())
            resume_sweep(existing, config, address=address, console=console)
            _finish(existing, as_json=as_json)
        config, about = _select(selection, quiet=as_json)
        say(plan_lines(make_plan(config, look_at_images(config, address)), config), quiet=as_json)
        only = resume is not None
        experiment = run_sweep(config, out=selection.out, only=only, address=address, about=about, console=console)
        _finish(experiment, as_json=as_json)


@cli.command(epilog=KEYS)
@space_argument
@selection_options
@click.option("--measure", is_flag=True, help="Train some settings for 20 seconds, to forecast hours and disk space.")
@as_json
def plan(measure: bool, as_json: bool, **options: Any) -> None:
    """Show the trials, rungs and cost of SPACE. Trains nothing without --measure."""
    from tune_app.commands.forecast import forecast_sweep
    from tune_app.config.images import look_at_images
    from tune_app.experiment.forecast import forecast_lines
    from tune_app.plan import make_plan, plan_lines

    selection = make_selection(options)
    config, _ = _select(selection, quiet=as_json)
    made = make_plan(config, look_at_images(config, selection.address))
    with shown_progress("looking for earlier experiments"):
        forecast = forecast_sweep(config, selection.out, selection.address, measure=measure)
    document = {**made.as_json(), "forecast": forecast and forecast.model_dump()}
    show(document, [*plan_lines(made, config), *forecast_lines(forecast)], as_json=as_json)


@cli.command(epilog=KEYS)
@space_argument
@selection_options
@as_json
def validate(as_json: bool, **options: Any) -> None:
    """Check SPACE and show each mistake with its place."""
    from tune_app.config.images import look_at_images

    selection = make_selection(options)
    try:
        config, _ = _select(selection, quiet=True)
        images = look_at_images(config, selection.address)
    except InputError as error:
        if not as_json:
            raise
        problems = error.problems if isinstance(error, ConfigError) else (Problem("", error.message, error.hint),)
        show({"valid": False, "problems": [one.as_json() for one in problems]}, [], as_json=True)
        sys.exit(error.exit_code)
    lines = [f"{options['space']} is valid: {config.model}, searches {', '.join(config.parameters)}"]
    lines += images.lines() if images else []
    document = {"valid": True, "name": config.name, "model": config.model}
    show({**document, "images": images and images.as_json()}, lines, as_json=as_json)


@cli.command()
@experiment_argument
@set_option
@click.option("--trials", type=int, help="Number of trials in all.")
@click.option("--accept-code-change", is_flag=True, help="Go on although the code of your own model has changed.")
@find_in_out
@address_option
@models_option
@as_json
def resume(experiment: str, sets: tuple[str, ...], trials: int | None, as_json: bool, **options: Any) -> None:
    """Resume EXP from where it stopped."""
    from tune_app.driver.sweep import resume_sweep
    from tune_app.experiment.out_folder import find

    existing = find(experiment, options.pop("out"))
    changes = {**assigned(sets), **({} if trials is None else {"search.trials": str(trials)})}
    with sweep_console(quiet=as_json) as console:
        resume_sweep(existing, existing.config(changes), console=console, **options)
        _finish(existing, as_json=as_json)


@cli.command()
@experiment_argument
@click.option("--trial", "trials", multiple=True, metavar="ID", help="A trial's setting; default: the winner's.")
@click.option("--top", type=click.IntRange(min=1), help="Train this many best settings.")
@click.option("--with-baselines", is_flag=True, help="Also train the baselines of EXP, to compare with them.")
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Trainings of each setting.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Seed of every random draw; default: EXP's plus 1.")
@click.option("--name", help="Name of the new experiment; default: EXP's with -retrained.")
@set_option
@out_option("Folder of EXP and of the new experiment.")
@wandb_option
@address_option
@models_option
@as_json
def retrain(
    experiment: str,
    sets: tuple[str, ...],
    top: int | None,
    out: Path,
    address: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Train the winner of EXP again, on the held-out images too, and evaluate it once on the test images."""
    from tune_app.commands.retrain import RetrainRequest, retraining_config, retraining_lines
    from tune_app.driver.sweep import run_sweep
    from tune_app.experiment.out_folder import find

    if top and options["trials"]:
        raise click.UsageError("--trial names the settings and --top counts them: choose one.")
    sweep = find(experiment, out)
    with sweep_console(quiet=as_json) as console:
        config = retraining_config(sweep, RetrainRequest(sets=assigned(sets), top=top or 1, **options), out)
        say(retraining_lines(config), quiet=as_json)
        about: dict[str, Any] = {
            "profile": sweep.profile(),
            "source": str(sweep.folder),
            "command": ["tune_app", *sys.argv[1:]],
        }
        _finish(run_sweep(config, out=out, address=address, about=about, console=console), as_json=as_json)


@cli.command()
@experiment_argument
@click.argument("trial", required=False)
@find_in_out
@as_json
def stop(experiment: str, trial: str | None, out: Path, as_json: bool) -> None:
    """Stop TRIAL, or all of EXP, at the next report."""
    from tune_app.experiment.out_folder import find
    from tune_app.experiment.requests import request_stop

    running = find(experiment, out)
    stopped = request_stop(running, trial)
    what = f"trial {stopped}" if stopped else f"{running.folder}: every trial"
    document = {"experiment": str(running.folder), "trial": stopped}
    show(document, [f"stop requested: {what} will end at its next report"], as_json=as_json)


@cli.command()
@experiment_argument
@click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="NAME=VALUE",
    help="Value of a searched parameter. The sampler chooses the others.",
    shell_complete=complete_parameter,
)
@find_in_out
@as_json
def enqueue(experiment: str, sets: tuple[str, ...], out: Path, as_json: bool) -> None:
    """Add a point to EXP by hand: its next trial."""
    from tune_app.commands.enqueue import enqueue as stage
    from tune_app.commands.enqueue import enqueued_lines
    from tune_app.experiment.out_folder import find

    if not sets:
        raise click.UsageError("Give at least one value: --set NAME=VALUE.")
    known = find(experiment, out)
    added = stage(known, assigned(sets))
    show(added.as_json(), enqueued_lines(added, known.shown), as_json=as_json)


@cli.command()
@experiment_argument
@find_in_out
@click.option("--watch", is_flag=True, help="Show the running sweep until it ends, then its answer.")
@as_json
def status(experiment: str, out: Path, watch: bool, as_json: bool) -> None:
    """Show the state of every trial of EXP."""
    from tune_app.answer.text import status_lines, sweep_status
    from tune_app.experiment.lock import is_running
    from tune_app.experiment.out_folder import find

    if watch and as_json:
        raise click.UsageError("--watch shows a table, and --json prints one document: choose one.")
    known = find(experiment, out)
    if watch and is_running(known.folder):
        from tune_app.commands.watch import watch as stage

        with sweep_console(quiet=False) as console:
            stage(known, console)
            _finish(known, as_json=False)
    current = sweep_status(known)
    show(current.as_json(), status_lines(current), as_json=as_json)


@cli.command()
def schema() -> None:
    """Print the JSON schema of space files, for editors."""
    from tune_app.config.editor_schema import schema as json_schema

    show(json_schema(), [], as_json=True)


def make_selection(options: dict[str, Any]) -> Selection:
    """Return the options of `selection_options` as a Selection."""
    from tune_app.config.selection import Selection

    return Selection(**{**options, "sets": assigned(options["sets"]), "fixes": assigned(options["fixes"], "--fix")})


def _select(selection: Selection, *, quiet: bool) -> tuple[SweepConfig, dict[str, Any]]:
    """Return the configuration and the manifest's facts about it, and print the line about the profile."""
    from tune_app.cluster.ray import gpus
    from tune_app.experiment.earlier import with_earlier_found

    choice, sentence = selection.choose_profile(lambda: gpus(selection.address))
    say([sentence], quiet=quiet)
    about = {"profile": choice.name, "source": str(selection.path), "command": ["tune_app", *sys.argv[1:]]}
    return with_earlier_found(selection.load(choice.profile), selection.out), about


def _finish(experiment: Experiment, *, as_json: bool) -> NoReturn:
    """Print the answer and exit with the code for how the sweep ended."""
    from tune_app.answer.summary import sweep_answer
    from tune_app.answer.text import answer_lines, exit_code

    report("writing the answer")
    answer = sweep_answer(experiment)
    show(answer.as_json(), answer_lines(answer), as_json=as_json)
    sys.exit(exit_code(answer.state))
