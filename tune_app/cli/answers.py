"""Commands about answers: best, report, compare, dashboard, list, sync."""

import sys
from contextlib import ExitStack
from pathlib import Path

import click

from tune_app.cli.completion import complete_experiment
from tune_app.cli.options import as_json, experiment_argument, find_in_out, out_option
from tune_app.cli.output import say, show, shown_progress
from tune_app.cli.root import cli
from tune_app.errors import StorageError


@cli.command()
@experiment_argument
@find_in_out
@as_json
def best(experiment: str, out: Path, as_json: bool) -> None:
    """Show the answer of EXP: its best trial and what that is worth."""
    from tune_app.answer.summary import sweep_answer
    from tune_app.answer.text import answer_lines
    from tune_app.experiment.out_folder import find

    known = find(experiment, out)
    with shown_progress("reading the trials"):
        answer = sweep_answer(known)
    show(answer.as_json(), answer_lines(answer), as_json=as_json)


@cli.command()
@experiment_argument
@find_in_out
@as_json
def report(experiment: str, out: Path, as_json: bool) -> None:
    """Write report.html into EXP: its answer with charts, pictures and a table of all trials, for any browser."""
    from tune_app.experiment.out_folder import find

    known = find(experiment, out)
    with shown_progress("writing the report"):
        from tune_app.report.page import write_report

        try:
            write_report(known)
        except OSError as error:
            raise StorageError.of(error, known.folder) from error
    show({"report": str(known.report)}, [f"report: {known.report}"], as_json=as_json)


@cli.command()
@click.argument("experiments", metavar="EXP EXP...", nargs=-1, required=True, shell_complete=complete_experiment)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also write one page (.html) with charts and the winners' samples, for any browser.",
)
@click.option(
    "--experiments",
    "folder",
    type=click.Path(path_type=Path),
    default="experiments",
    show_default=True,
    metavar="DIR",
    help="Folder in which `latest` and names are looked up.",
)
@as_json
def compare(experiments: tuple[str, ...], out: Path | None, folder: Path, as_json: bool) -> None:
    """Show the answers of several experiments side by side: best setting, its error, and what it cost."""
    from tune_app.answer.side_by_side import side_by_side, side_by_side_lines
    from tune_app.experiment.out_folder import find

    if len(experiments) < 2:
        raise click.UsageError("Name two experiments or more.")
    known = [find(one, folder) for one in experiments]
    with shown_progress("reading the trials"):
        if out:
            from tune_app.report.comparison import check_new_page, write_comparison

            check_new_page(out)
        found = side_by_side(known)
        if out:
            write_comparison(out, known, found)
    lines = [*side_by_side_lines(found), *([f"wrote {out}"] if out else [])]
    show([one.as_json() for one in found], lines, as_json=as_json)


@cli.command()
@experiment_argument
@find_in_out
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Port; 0 takes a free one."
)
@as_json
def dashboard(experiment: str, out: Path, port: int, as_json: bool) -> None:
    """Show EXP in optuna-dashboard on this machine, live, until Ctrl-C."""
    from tune_app.commands.dashboard import dashboard as stage
    from tune_app.experiment.out_folder import find

    known = find(experiment, out)

    opening = ExitStack()

    def ready(url: str) -> None:
        opening.close()
        show(
            {"experiment": str(known.folder), "url": url}, [f"{known.shown}: {url}  (Ctrl-C ends it)"], as_json=as_json
        )

    with opening:
        opening.enter_context(shown_progress("reading the trials"))
        stage(known, port, ready, lambda line: say([line], quiet=True))


@cli.command("list")
@out_option("Folder of the experiments.")
@as_json
def list_experiments(out: Path, as_json: bool) -> None:
    """List the experiments under --out, newest first."""
    from tune_app.answer.listing import experiment_row, listing_lines
    from tune_app.experiment.out_folder import experiments

    rows = [experiment_row(experiment) for experiment in experiments(out)]
    lines = listing_lines(rows) or [f"{out}: there is no experiment yet"]
    show([row.as_json() for row in rows], lines, as_json=as_json)


@cli.command()
@experiment_argument
@find_in_out
@click.option("--new", is_flag=True, help="Send everything into a new Sweep, e.g. after the old one was deleted.")
@click.option("--follow", is_flag=True, hidden=True, help="Go on until standard input closes; a driver uses this.")
@as_json
def sync(experiment: str, out: Path, new: bool, follow: bool, as_json: bool) -> None:
    """Send to Weights & Biases what it lacks of EXP."""
    from tune_app.experiment.out_folder import find
    from tune_app.trackers import sync as stage

    known = find(experiment, out)
    if follow:
        sys.exit(0 if stage.follow(known) else 1)
    show(stage.sync(known, new=new, to_stderr=as_json), [], as_json=as_json)
