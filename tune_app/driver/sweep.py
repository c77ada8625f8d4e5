"""Start or resume a sweep: check everything, start Ray, lock the experiment, run one session."""

import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from pydantic import JsonValue

from trainables.cache_folder import cache_folder
from trainables.catalog import MODELS
from trainables.contract import DataError
from trainables.files import write_file, write_json
from tune_app.cluster import ray as ray_cluster
from tune_app.cluster.hardware import hardware_of
from tune_app.cluster.packages import check_packages
from tune_app.cluster.ray import Cluster
from tune_app.cluster.scratch import socket_folder
from tune_app.cluster.shared_folder import check_shared
from tune_app.config.images import look_at_images
from tune_app.config.load import dump
from tune_app.config.methods import with_methods_of, with_methods_written_out
from tune_app.config.schema import SweepConfig
from tune_app.driver.finalists import to_recheck, to_retrain
from tune_app.driver.gpu_share import settle_gpu_share
from tune_app.driver.known_costs import known_forecast
from tune_app.driver.manifest import make_manifest, versions
from tune_app.driver.session import Session
from tune_app.driver.shared_data import SharedData, check_same_data, prepare_data, prepare_new
from tune_app.errors import InputError, RayDiedError, StorageError
from tune_app.experiment.changes import Changes, accepted_changes, changed_versions, check_model, check_trials
from tune_app.experiment.earlier import with_earlier_found, with_earlier_of
from tune_app.experiment.folder import Experiment
from tune_app.experiment.forecast import forecast_lines
from tune_app.experiment.leftovers import remove_leftovers, restarting_trials
from tune_app.experiment.lock import resume_lock
from tune_app.experiment.log import EventLog
from tune_app.experiment.model_code import copies, load_code
from tune_app.experiment.out_folder import check_writable, create
from tune_app.experiment.queue import waiting_points
from tune_app.experiment.records import Records
from tune_app.plan import trial_count
from tune_app.trackers.console import Quiet
from tune_app.trackers.driver_log import RecordedConsole
from tune_app.trackers.wandb_key import wandb_mode


def run_sweep(
    config: SweepConfig,
    *,
    out: Path,
    only: bool = False,
    address: str | None = None,
    about: Mapping[str, JsonValue] | None = None,
    console: Quiet | None = None,
) -> Experiment:
    """Run `config` as a new experiment under `out`. `about` (profile, command, source file) goes to its manifest.

    Raise InputError before anything is written if the machine, the data or the folder does not allow the sweep. With
    `only`, raise it also if an experiment of that name exists.
    """
    check_writable(out)
    _check_temporary(address)
    wandb_mode(config.wandb)
    if MODELS[config.model].uses_images and not address:
        _check_cache()
    look_at_images(config, address)
    config = with_earlier_found(with_methods_written_out(config), out)
    began, recorded = time.monotonic(), RecordedConsole(console or Quiet())
    with recorded.recorded_errors():
        try:
            with ray_cluster.started(config.resources, address, recorded.note, config.storage) as cluster:
                check_shared(out, config.storage)
                check_packages(MODELS.plugins_of(config.model))
                data = prepare_new(config, recorded)
                config = settle_gpu_share(config, cluster, data, recorded.note)
                forecast = known_forecast(config, out, hardware_of(cluster))
                for line in forecast_lines(forecast):
                    recorded.note(line)
                recorded.progress("starting the trials")
                experiment = create(out, config.name, only=only)
                with resume_lock(experiment.folder):
                    _write_files(experiment, config, cluster, data, about or {})
                    with closing(EventLog(experiment.events)) as log:
                        preparation = time.monotonic() - began
                        session = Session(config, experiment, log, _fold(log), cluster, data, forecast, preparation)
                        _run_session(session, recorded)
        except RayDiedError as error:
            _resume_after(error, experiment, address, recorded)
    return experiment


def _check_temporary(address: str | None) -> None:
    """Raise InputError if Ray's files have no folder, before wandb is imported, which needs a temporary folder too."""
    if not (address or ray_cluster.callers_ray()):
        socket_folder()


def _check_cache() -> None:
    """Raise InputError if the cache folder cannot be written, before Ray is started."""
    try:
        cache_folder()
    except DataError as error:
        raise InputError(f"{error.key}: {error}") from None


def _write_files(
    experiment: Experiment, config: SweepConfig, cluster: Cluster, data: SharedData, about: Mapping[str, JsonValue]
) -> None:
    """Write the files of a new experiment that its trials share."""
    with _disk_writes(experiment):
        if data.cnn:
            write_file(experiment.features, data.cnn)
        if data.real_images:
            write_file(experiment.real_images, data.real_images)
        _copy_model_files(experiment, config)
        write_file(experiment.sweep_yaml, dump(config))
        write_json(experiment.manifest, make_manifest(config, cluster, data, about))


def _copy_model_files(experiment: Experiment, config: SweepConfig) -> None:
    for name, text in copies(config.model).items():
        experiment.model_files.mkdir(exist_ok=True)
        write_file(experiment.model_files / name, text)


def resume_sweep(
    experiment: Experiment,
    config: SweepConfig,
    *,
    address: str | None = None,
    console: Quiet | None = None,
    accept_code_change: bool = False,
) -> Experiment:
    """Resume an experiment with `config`: unfinished trials from their last checkpoint first, then new ones.

    `accept_code_change` goes on with changed code of a user's model. Raise ConfigError if `config` differs in a key
    that may not change, and InputError if the images differ. In both cases nothing has changed on disk.
    """
    recorded = RecordedConsole(console or Quiet())
    with recorded.recorded_errors():
        try:
            _resume(experiment, config, address, recorded, accept_code_change=accept_code_change)
        except RayDiedError as error:
            _resume_after(error, experiment, address, recorded)
    return experiment


def _resume_after(error: RayDiedError, experiment: Experiment, address: str | None, console: Quiet) -> None:
    """Resume on a new private Ray. Raise `error` again if we did not start the Ray that died."""
    if address or ray_cluster.callers_ray():
        raise error
    console.note(f"{error.message}; starting Ray again")
    _resume(experiment, experiment.config(), None, console, accept_code_change=True)


def _resume(
    experiment: Experiment, config: SweepConfig, address: str | None, console: Quiet, *, accept_code_change: bool
) -> None:
    _check_temporary(address)
    wandb_mode(config.wandb)
    with resume_lock(experiment.folder), closing(EventLog(experiment.events)) as log:
        records = _fold(log)
        before = experiment.logged_config(records) if records.config else config
        if config.resources.gpu == "auto":
            resources = config.resources.model_copy(update={"gpu": before.resources.gpu})
            config = config.model_copy(update={"resources": resources})
        config = with_earlier_of(before, with_methods_of(before, config))
        changes = accepted_changes(before, config)
        check_trials(experiment, records, config)
        changes |= load_code(experiment.folder, accept_change=accept_code_change)
        if not accept_code_change:
            check_model(experiment, records, config)
        changes |= changed_versions(records, versions())
        if _is_finished(experiment, records, config):
            sweep = "the sweep is finished; --trials N adds trials"
            console.note("the retraining is finished" if config.retraining else sweep)
            return
        look_at_images(config, address)
        resume_line = f"resume with: python -m tune_app resume {experiment.shown}"
        with ray_cluster.started(config.resources, address, console.note, config.storage, resume_line) as cluster:
            check_shared(experiment.folder, config.storage)
            check_packages(MODELS.plugins_of(config.model))
            data = prepare_data(config, console, experiment, records.sample_metrics)
            check_same_data(records, data, experiment)
            config = settle_gpu_share(config, cluster, data, console.note)
            with _disk_writes(experiment):
                experiment.trials.mkdir(exist_ok=True)
                if data.real_images:
                    write_file(experiment.real_images, data.real_images)
                remove_leftovers(experiment, log, records, config.storage)
                if restarting := restarting_trials(experiment, records, config.storage):
                    trials = ", ".join(restarting)
                    console.note(f"these trials start over because none of their checkpoints is left: {trials}")
                _copy_model_files(experiment, config)
                write_file(experiment.sweep_yaml, dump(config))
            _run_session(Session(config, experiment, log, records, cluster, data), console, changes)


def _is_finished(experiment: Experiment, records: Records, config: SweepConfig) -> bool:
    """Return True if no trial is left to run, to re-evaluate or to train again."""
    return (
        records.state == "completed"
        and not records.unfinished
        and len(records.searched) >= trial_count(config, records.added)
        and not waiting_points(experiment, records)
        and not to_recheck(config, records)
        and not to_retrain(config, records)
    )


def _fold(log: EventLog) -> Records:
    records = Records()
    log.subscribe(records.apply)
    return records


def _run_session(session: Session, console: Quiet, changes: Changes | None = None) -> None:
    from tune_app.driver.tune_loop import run_session  # imports ray, which reads its settings when it is imported

    run_session(session, console, changes or {})


@contextmanager
def _disk_writes(experiment: Experiment) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError.of(error, experiment.folder) from error
