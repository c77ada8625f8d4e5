"""Every command: parses, calls one stage, prints."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from tune_app import __version__
from tune_app.errors import InputError, TuneAppError

if TYPE_CHECKING:
    from tune_app.config.schema import SweepConfig
    from tune_app.trackers.console import Quiet

Command = TypeVar("Command", bound=Callable[..., Any])
AS_IT_STANDS = "none"


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="tune_app")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Hyper-parameter sweeps for NCSN and Beta-VAE whose answers can be trusted.

    \b
    python -m tune_app run ncsn_space.yaml       a sweep, on whatever this machine has
    python -m tune_app best latest               its answer
    """


set_option = click.option(
    "--set", "sets", multiple=True, metavar="KEY=VALUE", help="Override any key, e.g. search.seed=1."
)
address_option = click.option(
    "--address",
    callback=lambda _context, _option, value: None if value == "local" else value,
    help="A Ray cluster: host:port, auto (the one of this machine), or local, a private Ray, which is the default.",
)


def selection(command: Command, *, required: bool = True) -> Command:
    """Options shared by the commands that read a SPACE file."""
    options = [
        click.argument("space", required=required),
        click.option(
            "--profile", metavar="NAME", help="Overlay of the file to use; `none` takes the file as it stands."
        ),
        set_option,
        click.option(
            "--data", metavar="NAME", help="cifar10, shapes, or folder:DIR with train/<class>/ and test/<class>/."
        ),
        click.option("--trials", type=int, help="How many trials to run."),
        click.option("--seed", type=int, help="The seed of every random draw."),
        click.option(
            "--out",
            type=click.Path(path_type=Path),
            default="experiments",
            show_default=True,
            metavar="DIR",
            help="Where experiments are kept.",
        ),
        click.option("--name", help="Name of the experiment."),
        click.option(
            "--wandb", type=click.Choice(["auto", "online", "offline", "disabled"]), help="Weights & Biases mode."
        ),
        address_option,
    ]
    for option in reversed(options):
        command = option(command)
    return command


as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
experiment_argument = click.argument("experiment", metavar="EXP")
out_option = click.option(
    "--out",
    type=click.Path(path_type=Path),
    default="experiments",
    show_default=True,
    metavar="DIR",
    help="Where `latest` looks.",
)


@cli.command()
@selection
@click.option(
    "--resume", "resume_name", metavar="NAME", help="Continue the newest experiment of that name, or start it."
)
@as_json
def run(as_json: bool, resume_name: str | None, **options: Any) -> None:
    """Run the sweep of SPACE to its answer."""
    from tune_app.driver.sweep import resume_sweep, run_sweep
    from tune_app.experiment.out_folder import newest

    options["name"] = options["name"] if resume_name is None else resume_name
    known = None if resume_name is None else newest(options["out"], resume_name)
    if known is not None:  # another machine would choose another profile
        options["profile"] = options["profile"] or known.profile()
    config, about = _select(options, quiet=as_json)
    address, console = options["address"], _console(quiet=as_json)
    if known is not None:
        resume_sweep(known, config, address=address, console=console)
        _finish(known, as_json=as_json)
    _say(_plan_lines(config), quiet=as_json)
    only = resume_name is not None
    experiment = run_sweep(config, out=options["out"], only=only, address=address, about=about, console=console)
    _finish(experiment, as_json=as_json)


@cli.command()
@experiment_argument
@set_option
@click.option("--trials", type=int, help="How many trials to run in all.")
@out_option
@address_option
@as_json
def resume(
    experiment: str, sets: tuple[str, ...], trials: int | None, out: Path, address: str | None, as_json: bool
) -> None:
    """Carry on EXP where it stands, whatever ended it."""
    from tune_app.driver.sweep import resume_sweep
    from tune_app.experiment.out_folder import find

    known = find(experiment, out)
    more = {} if trials is None else {"search.trials": str(trials)}
    resume_sweep(known, known.config({**assigned(sets), **more}), address=address, console=_console(quiet=as_json))
    _finish(known, as_json=as_json)


@cli.command()
@partial(selection, required=False)
@click.option("--dry-run", is_flag=True, help="List the files that would be sent, and send nothing.")
@click.option("--no-wait", is_flag=True, help="Print the job's id and leave it to run.")
@click.option("--status", "status_of", metavar="ID", help="Show where a job stands.")
@click.option("--logs", "logs_of", metavar="ID", help="Print what a job has said so far.")
@click.option("--stop", "stop_of", metavar="ID", help="End a job; its trials checkpoint, and the same submit resumes.")
@as_json
def submit(
    as_json: bool,
    dry_run: bool,
    no_wait: bool,
    status_of: str | None,
    logs_of: str | None,
    stop_of: str | None,
    **options: Any,
) -> None:
    """Run the sweep of SPACE as a job of the Ray cluster whose dashboard is --address; leaves with its exit code.

    A relative --out lies in the home folder of the cluster's head.
    """
    from tune_app.commands.submit import WANDB_KEY, Jobs, pack, parcel_lines
    from tune_app.config.load import find

    quiet = as_json or no_wait
    if asked := status_of or logs_of or stop_of:
        jobs = Jobs(options["address"], lambda line: _say([line], quiet=True))
        if stop_of:
            jobs.stop(asked)
        found = {**jobs.status(asked), **({"log": jobs.logs(asked)} if logs_of else {})}
        _show(found, found["log"].splitlines() if logs_of else [f"{asked}: {found['state'].lower()}"], as_json=as_json)
        return
    if options["space"] is None:
        raise click.UsageError("Missing argument 'SPACE'.")
    profile = None if options["profile"] == AS_IT_STANDS else options["profile"]
    config = _load(options, profile=profile)
    parcel = pack(find(options["space"]), config, options)
    if dry_run:
        _show(parcel.as_json(), parcel_lines(parcel.as_json()), as_json=as_json)
        return
    jobs = Jobs(options["address"], lambda line: _say([line], quiet=quiet))
    if config.wandb.mode not in ("offline", "disabled"):
        _say([WANDB_KEY], quiet=quiet)
    job = jobs.send(parcel)
    if no_wait:
        _show({"job": job}, [job], as_json=as_json)
        return
    _say([f"job {job}; a Ctrl-C leaves it running, `submit --stop {job}` ends it"], quiet=quiet)
    found = jobs.follow(job)
    _show(found, [f"job {job}: {found['state'].lower()}"], as_json=as_json)
    sys.exit(found["exit_code"])


@cli.command()
@experiment_argument
@click.argument("trial", required=False)
@out_option
def stop(experiment: str, trial: str | None, out: Path) -> None:
    """End TRIAL, or all of EXP, at the next report; what was measured counts."""
    from tune_app.experiment.out_folder import find
    from tune_app.experiment.requests import request_stop

    known = find(experiment, out)
    request_stop(known, trial)
    what = f"trial {trial}" if trial else f"{known.folder}: every trial"
    click.echo(f"stop requested: {what} will end at its next report")


@cli.command()
@selection
@as_json
def plan(as_json: bool, **options: Any) -> None:
    """Show the trials, rungs and cost of SPACE. Trains nothing."""
    from tune_app.plan import make_plan

    config, _ = _select(options, quiet=as_json)
    _show(make_plan(config).as_json(), _plan_lines(config), as_json=as_json)


@cli.command()
@selection
@as_json
def validate(as_json: bool, **options: Any) -> None:
    """Check SPACE and say what is wrong with it, and where."""
    config, _ = _select(options, quiet=True)
    lines = [f"{options['space']} is valid: {config.model}, searches {', '.join(config.parameters)}"]
    _show({"valid": True, "name": config.name, "model": config.model}, lines, as_json=as_json)


@cli.command()
@experiment_argument
@out_option
@as_json
def status(experiment: str, out: Path, as_json: bool) -> None:
    """Show every trial of EXP and where it stands."""
    from tune_app.answer.text import status_lines, sweep_status
    from tune_app.experiment.out_folder import find

    current = sweep_status(find(experiment, out))
    _show(current.as_json(), status_lines(current), as_json=as_json)


@cli.command()
@experiment_argument
@out_option
@as_json
def best(experiment: str, out: Path, as_json: bool) -> None:
    """Show the best trial of EXP."""
    from tune_app.answer.text import answer_lines, sweep_answer
    from tune_app.experiment.out_folder import find

    answer = sweep_answer(find(experiment, out))
    _show(answer.best_json(), answer_lines(answer), as_json=as_json)


@cli.command()
@experiment_argument
@out_option
@click.option("--follow", is_flag=True, hidden=True, help="Go on until standard input ends; how a driver calls it.")
def sync(experiment: str, out: Path, follow: bool) -> None:
    """Bring EXP into Weights & Biases: what is missing there is sent, nothing twice."""
    from tune_app.experiment.out_folder import find
    from tune_app.trackers import sync as stage

    known = find(experiment, out)
    if follow:
        sys.exit(0 if stage.follow(known) else 1)
    stage.sync(known)


@cli.command()
@click.argument("model")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="A parameter of the model, e.g. beta=4.0.")
@click.option("--data", default="cifar10", show_default=True, help="cifar10, shapes, or folder:DIR.")
@click.option("--resolution", type=int, default=32, show_default=True, help="Side of an image in pixels.")
@click.option(
    "--epochs", type=click.IntRange(min=1), default=200, show_default=True, help="Passes over the training images."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="The seed of every random draw.")
@click.option("--out", type=click.Path(path_type=Path), default="experiments", show_default=True, metavar="DIR")
@as_json
def train(model: str, sets: tuple[str, ...], data: str, as_json: bool, **options: Any) -> None:
    """Train MODEL once, without a sweep and without Ray: a checkpoint every 10 epochs, samples every 5."""
    from tune_app.commands.train import train_once

    found = train_once(model, assigned(sets), data, say=lambda line: _say([line], quiet=as_json), **options)
    _show(found, [], as_json=as_json)


@cli.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="What the file does not hold, e.g. beta=4.0.")
@click.option("--data", help="cifar10, shapes, or folder:DIR; default: what the checkpoint tells, else cifar10.")
@click.option("--resolution", type=int, help="Side of an image in pixels; default: what the checkpoint tells, else 32.")
@click.option(
    "--samples",
    type=click.IntRange(min=16),
    default=2000,
    show_default=True,
    help="Images drawn for each sampling setting tried.",
)
@click.option(
    "--nfe", type=click.IntRange(min=1), default=100, show_default=True, help="Network evaluations of a sampled image."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="The seed of every random draw.")
@as_json
def score(checkpoint: Path, sets: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Measure CHECKPOINT like a trial: one of ours, or a .pth file of the reference project."""
    from tune_app.commands.measure_checkpoint import score as measure
    from tune_app.commands.measure_checkpoint import score_lines

    found = measure(checkpoint, assigned(sets), say=lambda line: _say([line], quiet=True), **options)
    _show(found, score_lines(found), as_json=as_json)


@cli.command()
@address_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default="experiments",
    show_default=True,
    metavar="DIR",
    help="Where experiments are to be kept.",
)
@as_json
def doctor(out: Path, address: str | None, as_json: bool) -> None:
    """Show what a sweep needs and whether it is here, and what to do where it is not. Starts nothing."""
    from dataclasses import asdict

    from tune_app.commands.doctor import can_run, doctor_lines, examine

    rows = examine(out, address, os.environ)
    document = {"can_run": can_run(rows), "rows": [asdict(row) for row in rows]}
    _show(document, doctor_lines(rows), as_json=as_json)
    sys.exit(0 if can_run(rows) else 1)


@cli.command()
@selection
@click.option("--image", default=f"tune_app:{__version__}", show_default=True, help="Image of every pod; see docker/.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Pods that run trials.")
def manifest(image: str, workers: int, **options: Any) -> None:
    """Print Kubernetes YAML (a KubeRay RayJob) that runs SPACE on a cluster of its own; --out is the pods' folder."""
    from tune_app.commands.kubernetes import entrypoint, render
    from tune_app.config.load import find

    if options["address"] is not None:
        raise InputError("--address: the manifest makes a cluster of its own", hint="`submit` goes to one that runs")
    options["profile"] = options["profile"] or AS_IT_STANDS  # this machine's GPUs say nothing of the cluster's
    config, _ = _select(options, quiet=True)
    space = find(options["space"]).read_text()
    _print(render(config, space, entrypoint(config.name, options), out=options["out"], image=image, workers=workers))


@cli.command()
def schema() -> None:
    """Print the JSON schema of a SPACE file, for editors that complete and check."""
    from tune_app.config.load import schema as json_schema

    click.echo(json.dumps(json_schema(), indent=2))


def main() -> NoReturn:
    """Run the command line; every error ends in a sentence and an exit code."""
    try:
        cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except TuneAppError as error:
        _raise_if_debugging(error)
        _print(f"error: {error}", err=True)
        if error.hint:
            _print(f"  hint: {error.hint}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os._exit(0)  # the reader has left; flushing stdout at exit would complain
    except Exception as error:
        _raise_if_debugging(error)
        _print(f"error: {type(error).__name__}: {error}", err=True)
        click.echo("  hint: this is a fault of tune_app's; `tune_app --debug ...` shows where", err=True)
        sys.exit(1)
    sys.exit(0)


def assigned(sets: tuple[str, ...]) -> dict[str, str]:
    """KEY=VALUE options as a mapping."""
    pairs = {}
    for item in sets:
        key, equals, value = item.partition("=")
        if not equals or not key.strip():
            raise InputError(f"--set {item}: expected KEY=VALUE")
        pairs[key.strip()] = value
    return pairs


def _select(options: dict[str, Any], *, quiet: bool) -> tuple[SweepConfig, dict[str, Any]]:
    """The configuration the options ask for, the first line printed, and what the manifest says of the choice."""
    from tune_app.config.load import find, profile_names

    path = find(options["space"])
    profile, why = _profile(options["profile"], list(profile_names(path)), options["address"])
    _say([why], quiet=quiet)
    return _load(options, profile=profile), {
        "profile": profile or AS_IT_STANDS,
        "source": str(path),
        "command": ["tune_app", *sys.argv[1:]],
    }


def _load(options: dict[str, Any], *, profile: str | None) -> SweepConfig:
    from tune_app.config.load import load

    return load(options["space"], profile=profile, set=assigned(options["sets"]),
                **{key: options[key] for key in ("data", "trials", "seed", "name", "wandb")})  # fmt: skip


def _profile(asked: str | None, known: list[str], address: str | None) -> tuple[str | None, str]:
    """The profile to use, and the sentence that says which, why and how to choose."""
    choose = f"choose with --profile {{{', '.join([AS_IT_STANDS, *known])}}}"
    if asked == AS_IT_STANDS:
        return None, f"profile: none, the file as it stands, as asked; {choose}"
    if asked is not None:
        return asked, f"profile: {asked}, as asked; {choose}"
    from tune_app.cluster.ray import gpus

    found = gpus(address)
    if found or "laptop" not in known:
        return None, f"profile: none, the file as it stands ({found} GPU(s) found); {choose}"
    return "laptop", f"profile: laptop, as no GPU was found; {choose}"


def _plan_lines(config: SweepConfig) -> list[str]:
    from tune_app.plan import make_plan, plan_lines

    return plan_lines(make_plan(config), config)


def _finish(experiment: Any, *, as_json: bool) -> NoReturn:
    """Print the answer and leave with the exit code of how the sweep ended."""
    from tune_app.answer.text import answer_lines, exit_code, sweep_answer

    answer = sweep_answer(experiment)
    _show(answer.as_json(), answer_lines(answer), as_json=as_json)
    sys.exit(exit_code(answer.state))


def _console(*, quiet: bool) -> Quiet:
    from tune_app.trackers.console import Plain
    from tune_app.trackers.live_table import LiveTable

    if quiet or not sys.stdout.isatty():
        return Plain(to_stderr=quiet)
    return LiveTable()


def _show(document: Any, lines: list[str], *, as_json: bool) -> None:
    if as_json:
        lines = [json.dumps(document, indent=2, allow_nan=False)]
    if lines:
        _print("\n".join(lines))


def _say(lines: list[str], *, quiet: bool) -> None:
    """Words about the work: to stdout, or to stderr where stdout is for one JSON document."""
    for line in lines:
        _print(line, err=quiet)


def _print(text: str, *, err: bool = False) -> None:
    """Print with all that is unprintable escaped: what a file or a worker said must not move the cursor."""
    click.echo("".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text), err=err)


def _raise_if_debugging(error: BaseException) -> None:
    if "--debug" in sys.argv[1:]:
        raise error
