"""Commands about clusters: submit, manifest, doctor."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tune_app import __version__
from tune_app.cli.completion import complete_space
from tune_app.cli.options import KEYS, address_option, as_json, out_option, selection_options, space_argument
from tune_app.cli.output import print_text, say, show
from tune_app.cli.root import cli
from tune_app.cli.sweeps import make_selection

if TYPE_CHECKING:
    from typing import Any


@cli.command(epilog=KEYS)
@click.argument("space", required=False, shell_complete=complete_space)
@selection_options
@click.option("--dry-run", is_flag=True, help="List the files that would be sent, and send nothing.")
@click.option("--no-wait", is_flag=True, help="Print the job's id and exit while the job runs.")
@click.option("--status", "status_of", metavar="ID", help="Show the state of a job.")
@click.option("--logs", "logs_of", metavar="ID", help="Print a job's output so far.")
@click.option("--stop", "stop_of", metavar="ID", help="Stop a job; its trials checkpoint, and the same submit resumes.")
@as_json
def submit(as_json: bool, dry_run: bool, no_wait: bool, **options: Any) -> None:
    """Run the sweep of SPACE as a job of a Ray cluster.

    --address is the cluster's dashboard. The exit code is the job's. A relative --out lies in the home folder of the
    cluster's head.
    """
    from tune_app.commands import submit as stage

    quiet = as_json or no_wait
    about = {name: options.pop(name) for name in ("status_of", "logs_of", "stop_of")}
    if job := next(filter(None, about.values()), None):
        jobs = stage.Jobs(options["address"], lambda line: say([line], quiet=True))
        report = stage.about_job(jobs, job, stop=bool(about["stop_of"]), logs=bool(about["logs_of"]))
        show(report.as_json(), report.lines(), as_json=as_json)
        return
    if options["space"] is None:
        raise click.UsageError("Missing argument 'SPACE'.")
    parcel = stage.pack(make_selection(options))
    if dry_run:
        show(parcel.as_json(), parcel.lines(), as_json=as_json)
        return
    jobs = stage.Jobs(options["address"], lambda line: say([line], quiet=quiet))
    report = stage.send(jobs, parcel, wait=not no_wait)
    show(report.as_json(), report.lines(), as_json=as_json)
    sys.exit(report.exit_code or 0)


@cli.command(epilog=KEYS)
@space_argument
@selection_options
@click.option("--image", default=f"tune_app:{__version__}", show_default=True, help="Image of every pod; see docker/.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Pods that run trials.")
def manifest(image: str, workers: int, **options: Any) -> None:
    """Print a KubeRay RayJob that runs SPACE on Kubernetes.

    The RayJob makes its own Ray cluster. --out is a folder in its pods.
    """
    from tune_app.commands.kubernetes import rayjob

    print_text(rayjob(make_selection(options), image=image, workers=workers))


@cli.command()
@address_option
@out_option("Folder for experiments.")
@as_json
def doctor(out: Path, address: str | None, as_json: bool) -> None:
    """Check what a sweep needs on this machine. Starts nothing."""
    from dataclasses import asdict

    from tune_app.commands.doctor import can_run, doctor_lines, examine

    rows = examine(out, address, os.environ)
    show({"can_run": can_run(rows), "rows": [asdict(row) for row in rows]}, doctor_lines(rows), as_json=as_json)
    sys.exit(0 if can_run(rows) else 1)
