"""The configuration of a sweep: strict YAML in, a frozen SweepConfig out."""

from tune_app.config.load import dump, find, load, profile_names, schema
from tune_app.config.schema import SweepConfig

__all__ = ["SweepConfig", "dump", "find", "load", "profile_names", "schema"]
