"""The files of models that a person names with --models, or in Python."""

from collections.abc import Iterable
from pathlib import Path

from trainables import plugin_code
from trainables.contract import PluginError
from tune_app.errors import InputError


def add_model_files(files: Iterable[str | Path]) -> None:
    """Run each file and add its models and metrics to the catalog. Raise InputError with the file and the line."""
    for file in files:
        try:
            plugin_code.add(plugin_code.read_file(Path(file)))
        except PluginError as error:
            raise InputError(f"--models {error}", hint="docs/models.md shows what such a file holds") from None
