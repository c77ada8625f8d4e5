"""Hyper-parameter sweeps for generative models whose answers can be trusted.

config = tune_app.load("ncsn_space.yaml", profile="laptop", set={"search.trials": 20})
experiment = tune_app.run(config)
experiment.best()
model = tune_app.load_model("exported")   # a folder that `tune_app export` wrote
images = model.sample(64, seed=0)
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainables.saved_model import SavedModel
    from tune_app.config.schema import SweepConfig
    from tune_app.experiment.folder import Experiment

__version__ = "0.1.0"


def load(path: str | Path, *, profile: str | None = None, set: Mapping[str, object] | None = None) -> SweepConfig:
    """Return the configuration in the file at `path`, or in the shipped one of that name.

    Without `profile`, this follows the rule of the command line: the file as it stands on a machine with a GPU, the
    profile `laptop` elsewhere. `none` is the file as it stands. Raise ConfigError with the place of each mistake.
    """
    from tune_app.cluster.this_machine import local_gpus
    from tune_app.config.load import load, profile_names
    from tune_app.config.profile import choose_profile
    from tune_app.config.space_file import find_space

    space = find_space(path)
    choice = choose_profile(profile, profile_names(space), local_gpus)
    return load(space, profile=choice.profile, set=set)


def run(config: SweepConfig, *, out: str | Path = "experiments", address: str | None = None) -> Experiment:
    """Run a sweep to its end and return its experiment. Raise InputError if it cannot start."""
    from tune_app.driver.sweep import run_sweep

    return run_sweep(config, out=Path(out), address=address)


def load_model(folder: str | Path) -> SavedModel:
    """Return the model in a folder that `tune_app export` wrote. Raise InputError. Nothing in the folder is run."""
    from trainables.checkpoint import CheckpointError
    from trainables.saved_model import SavedModel
    from tune_app.errors import InputError

    try:
        return SavedModel.load(Path(folder))
    except CheckpointError as error:
        raise InputError(str(error)) from None
