"""The configuration of a sweep: strict YAML in, a frozen SweepConfig out."""

from tune_app.config.editor_schema import schema
from tune_app.config.load import Overrides, dump, load, profile_names
from tune_app.config.schema import SweepConfig
from tune_app.config.space_file import find_space

__all__ = ["Overrides", "SweepConfig", "dump", "find_space", "load", "profile_names", "schema"]
