"""A sweep begun or carried on: everything checked, Ray started, the experiment locked, one session driven."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from trainables.catalog import MODELS
from tune_app.cluster import ray as ray_cluster
from tune_app.cluster.ray import Cluster
from tune_app.cluster.shared_folder import check_shared
from tune_app.config.load import dump, restored
from tune_app.config.schema import SweepConfig
from tune_app.driver.gpu_share import settled
from tune_app.driver.trial_spec import Basis, run_spec
from tune_app.errors import InputError, StorageError
from tune_app.experiment.changes import accepted
from tune_app.experiment.folder import Experiment, check_writable, create, write, write_json
from tune_app.experiment.log import EventLog
from tune_app.experiment.records import Records
from tune_app.trackers.console import Quiet

FID_IMAGES = 50_000


def run_sweep(
    config: SweepConfig,
    *,
    out: Path,
    only: bool = False,
    address: str | None = None,
    about: dict[str, Any] | None = None,
    console: Quiet | None = None,
) -> Experiment:
    """Run `config` as a new experiment under `out`; `about` (profile, command, source file) goes to its manifest.

    Raises InputError before anything is written where the machine, the data or the folder do not allow the sweep, or
    where, with `only`, there is an experiment of that name.
    """
    check_writable(out)
    path = config.data.path
    if path and not address and not Path(path).expanduser().is_dir():
        raise InputError(f"data: {path} is not a folder")
    say = (console or Quiet()).note
    with ray_cluster.started(config.resources, address, say) as cluster:
        check_shared(out, config.storage)
        basis = _prepare(config)
        config = settled(config, cluster, basis, say)
        experiment = create(out, config.name, only=only)
        with experiment.locked():
            with _disk(experiment):
                if basis.cnn:
                    write(experiment.features, basis.cnn)
                write(experiment.sweep_yaml, dump(config))
                write_json(experiment.manifest, _manifest(config, cluster, basis, about or {}))
            with closing(EventLog(experiment.events)) as log:
                _drive(config, experiment, log, cluster, basis, console)
    return experiment


def resume_sweep(
    experiment: Experiment, config: SweepConfig, *, address: str | None = None, console: Quiet | None = None
) -> Experiment:
    """Carry on an experiment, now with `config`: unfinished trials from their last checkpoint, then new ones.

    Raises ConfigError, with nothing changed, where `config` differs in what may not; InputError where the images do.
    """
    with experiment.locked(), closing(EventLog(experiment.events)) as log:
        records = Records(log.events)
        begun = restored(records.config, experiment.events) if records.config else config
        if config.resources.gpu == "auto":
            resources = config.resources.model_copy(update={"gpu": begun.resources.gpu})
            config = config.model_copy(update={"resources": resources})
        changed = accepted(begun, config)
        experiment.check(records, config)
        say = (console or Quiet()).note
        with ray_cluster.started(config.resources, address, say) as cluster:
            check_shared(experiment.folder, config.storage)
            basis = _prepare(config, experiment)
            check_basis(records, basis, experiment)
            config = settled(config, cluster, basis, say)
            with _disk(experiment):
                experiment.tidy(records, config.storage)
                write(experiment.sweep_yaml, dump(config))
            _drive(config, experiment, log, cluster, basis, console, changed=changed)
    return experiment


def check_basis(records: Records, basis: Basis, experiment: Experiment) -> None:
    """Raise InputError where the experiment began with other images, or its numbers are in other features."""
    if records.data and records.data != basis.data:
        raise InputError(f"data: these are not the images that {experiment.folder} began with")
    if records.features and records.features != basis.features:
        raise InputError(
            f"{experiment.features}: these are not the features that the sweep began with, and numbers of two feature "
            "sets do not compare",
            hint="restore the file from a copy, or start a new experiment",
        )


def _drive(config: SweepConfig, experiment: Experiment, *rest: Any, **more: Any) -> None:
    from tune_app.driver.session import drive  # ray, which reads its settings when it is imported

    drive(config, experiment, *rest, **more)


@contextmanager
def _disk(experiment: Experiment) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError.of(error, experiment.folder) from error


def _prepare(config: SweepConfig, experiment: Experiment | None = None) -> Basis:
    """The data decoded and the yardstick made, once; an `experiment` goes on with the features it began with."""
    if not MODELS[config.model].uses_images:
        return Basis()
    saved = experiment.features.read_bytes() if experiment and experiment.features.is_file() else b""
    fid = config.evaluation.final_samples >= FID_IMAGES or config.recheck.samples >= FID_IMAGES
    kept, yardstick = ray_cluster.prepared(
        run_spec(config, {}, seed=0), features=_absolute(config.evaluation.features), saved=saved, fid=fid
    )
    basis = Basis(kept.data, kept.features, kept.cnn, yardstick)
    missing = [one.name for one in config.objectives if one.name == "kid_alt" and len(basis.features) < 2]
    if missing:
        raise InputError("metric.name: kid_alt needs a second feature set, and without labels none can be trained")
    return basis


def _absolute(features: str) -> str:
    """The same, a file named from the folder of the driver, which a worker need not share."""
    kind, colon, path = features.partition(":")
    return f"{kind}{colon}{Path(path).expanduser().absolute()}" if path else features


def _manifest(config: SweepConfig, cluster: Cluster, basis: Basis, about: dict[str, Any]) -> dict[str, Any]:
    packages = {}
    for name in ("tune_app", "torch", "torchvision", "ray", "optuna", "numpy"):
        with suppress(Exception):
            packages[name] = version(name)
    return {
        **about,
        "versions": {"python": platform.python_version(), **packages},
        "hardware": {"cpus": cluster.cpus, "gpus": cluster.gpus, "slots": cluster.slots, "machine": platform.machine()},
        "data": {**config.data.model_dump(), "fingerprint": basis.data},
        "features": basis.features,
        "seed": config.search.seed,
    }
