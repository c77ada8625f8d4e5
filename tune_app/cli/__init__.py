"""The command line: `python -m tune_app COMMAND`."""

from tune_app.cli import answers, cluster, models, own_models, sweeps
from tune_app.cli.error_ladder import main
from tune_app.cli.root import cli

__all__ = ["answers", "cli", "cluster", "main", "models", "own_models", "sweeps"]
