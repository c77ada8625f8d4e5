"""The group that all commands belong to."""

import click

from tune_app import __version__


class Commands(click.Group):
    """Group that lists each command with its whole summary, wrapped to the width of the terminal."""

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write name and summary of each command."""
        rows = [
            (name, (command.help or "").split("\n\n")[0].replace("\n", " "))
            for name in self.list_commands(context)
            if (command := self.get_command(context, name)) is not None
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="tune_app")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Hyper-parameter sweeps for NCSN and Beta-VAE whose answers can be trusted.

    \b
    python -m tune_app run ncsn_space.yaml       run a sweep on this machine
    python -m tune_app best latest               show its answer
    """
