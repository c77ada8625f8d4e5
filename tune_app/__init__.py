"""Hyper-parameter sweeps for generative models whose answers can be trusted.

config = tune_app.load("ncsn_space.yaml", profile="laptop", set={"search.trials": 20})
experiment = tune_app.run(config)         # or tune_app.open("latest")
experiment.best().value, experiment.records(), experiment.dataframe()
model = experiment.load_model()           # or tune_app.load_model("exported"), a folder of `tune_app export`
images = model.sample(64, seed=0)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainables.saved_model import SavedModel
    from tune_app.commands.opened import OpenedExperiment
    from tune_app.config.schema import SweepConfig

__version__ = "0.1.0"


def load(
    path: str | Path,
    *,
    profile: str | None = None,
    set: Mapping[str, object] | None = None,
    models: Sequence[str | Path] = (),
) -> SweepConfig:
    """Return the configuration in the file at `path`, or in the shipped one of that name.

    `models` are Python files with models of your own, which are run; see docs/models.md.

    Without `profile`, this follows the rule of the command line: the file as it stands on a machine with a GPU, the
    profile `laptop` elsewhere. `none` is the file as it stands. Raise ConfigError with the place of each mistake.
    """
    from tune_app.cluster.this_machine import local_gpus
    from tune_app.config.load import load, profile_names
    from tune_app.config.plugins import add_model_files
    from tune_app.config.profile import choose_profile
    from tune_app.config.space_file import find_space

    add_model_files(models)
    space = find_space(path)
    choice = choose_profile(profile, profile_names(space), local_gpus)
    return load(space, profile=choice.profile, set=set)


def run(
    config: SweepConfig, *, out: str | Path = "experiments", address: str | None = None, progress: bool = True
) -> OpenedExperiment:
    """Run a sweep to its end and return its experiment.

    Show a live table in a notebook with ipywidgets and plain lines elsewhere, or nothing without `progress`. Raise
    InputError if the sweep cannot start, and SweepFailedError if every trial failed.
    """
    from tune_app.commands.opened import OpenedExperiment, check_any_succeeded, progress_console
    from tune_app.driver.sweep import run_sweep

    console = progress_console() if progress else None
    experiment = run_sweep(config, out=Path(out), address=address, console=console)
    check_any_succeeded(experiment)
    return OpenedExperiment(experiment.folder)


def retrain(
    where: str | Path = "latest",
    *,
    seeds: int = 3,
    with_baselines: bool = False,
    trials: Sequence[str] = (),
    out: str | Path = "experiments",
    address: str | None = None,
    progress: bool = True,
) -> OpenedExperiment:
    """Train the winner of a sweep, or the settings of `trials`, anew, and evaluate them on the test images.

    `where` is the sweep: a folder, a name under `out`, or `latest`. Raise InputError if it cannot start, and
    SweepFailedError if every training failed.
    """
    from tune_app.commands.retrain import RetrainRequest, retraining_config

    request = RetrainRequest(trials=tuple(trials), with_baselines=with_baselines, seeds=seeds)
    config = retraining_config(open(where, out=out), request, Path(out))
    return run(config, out=out, address=address, progress=progress)


def open(where: str | Path = "latest", *, out: str | Path = "experiments") -> OpenedExperiment:
    """Return an experiment: a folder, a name under `out`, or `latest`. Raise InputError if there is none."""
    from tune_app.commands.opened import OpenedExperiment
    from tune_app.experiment.out_folder import find

    return OpenedExperiment(find(str(where), Path(out)).folder)


def load_model(
    where: str | Path,
    *,
    out: str | Path = "experiments",
    trial: str | None = None,
    models: Sequence[str | Path] = (),
) -> SavedModel:
    """Return a trained model: of a folder that `tune_app export` wrote, of a checkpoint, or of an experiment.

    Of an experiment it is that of the winner, or of `trial`. Raise InputError. Nothing in a file is run, except
    the Python files in `models` and the code of your own model that an experiment was started with.
    """
    from tune_app.commands.model_source import trained_model
    from tune_app.config.plugins import add_model_files

    add_model_files(models)
    return trained_model(str(where), Path(out), trial).model
