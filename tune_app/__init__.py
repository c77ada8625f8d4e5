"""Hyper-parameter sweeps for generative models whose answers can be trusted.

config = tune_app.load("ncsn_space.yaml", profile="laptop", set={"search.trials": 20})
experiment = tune_app.run(config)
experiment.best()
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tune_app.config.schema import SweepConfig
    from tune_app.experiment.folder import Experiment

__version__ = "0.1.0"


def load(path: str | Path, *, profile: str | None = None, set: Mapping[str, Any] | None = None) -> SweepConfig:
    """The configuration in the file `path`, or in the shipped one of that name; raises ConfigError with its place."""
    from tune_app.config.load import find, load

    return load(find(str(path)), profile=profile, set=set or {})


def run(config: SweepConfig, *, out: str | Path = "experiments", address: str | None = None) -> Experiment:
    """Run a sweep to its end and return its experiment; raises InputError where it cannot start."""
    from tune_app.driver.sweep import run_sweep

    return run_sweep(config, out=Path(out), address=address)
