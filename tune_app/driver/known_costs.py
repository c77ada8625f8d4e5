"""The costs of trials that are known before a sweep starts, from a kept probe or from an earlier experiment."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from trainables.cache_folder import cache_folder
from trainables.contract import DataError
from trainables.files import write_file
from tune_app.cluster.hardware import Hardware
from tune_app.config.schema import SweepConfig
from tune_app.costs import logged_cost, phase_seconds, scaled_cost
from tune_app.driver.forecast import Basis, make_forecast
from tune_app.driver.manifest import versions
from tune_app.errors import InputError
from tune_app.experiment.earlier import misfit
from tune_app.experiment.folder import Experiment
from tune_app.experiment.forecast import Forecast
from tune_app.experiment.model_code import logged_plugins
from tune_app.experiment.out_folder import experiments
from tune_app.experiment.records import Records, TrialRecord

MOST_EXPERIMENTS = 20
"""The newest experiments that are looked at."""
DECISIVE = {"model", "parameters", "data", "evaluation", "recheck", "resources", "baselines"}
"""Parts of a configuration on which the cost of a trial depends."""


def known_forecast(config: SweepConfig, out: Path, hardware: Hardware) -> Forecast | None:
    """Return the forecast from the newest experiment under `out` with such trials on such hardware, or from a probe.

    A probe is used if it is newer. Return None if nothing is known, and for a retraining.
    """
    if not hardware.slots or config.retraining:
        return None
    kept, written = _kept_probe(config, hardware)
    for experiment in experiments(out)[:MOST_EXPERIMENTS]:
        if kept and written > experiment.events.stat().st_mtime:
            break
        with suppress(InputError):  # its log is damaged, or a later version wrote it
            if basis := _basis(config, experiment, hardware):
                return make_forecast(config, basis)
    return make_forecast(config, kept) if kept else None


def keep_probe(config: SweepConfig, hardware: Hardware, basis: Basis) -> None:
    """Keep a probe, so that the sweep that is started next has its forecast."""
    with suppress(OSError, DataError):
        write_file(_place(config, hardware), basis.model_dump_json().encode())


def _kept_probe(config: SweepConfig, hardware: Hardware) -> tuple[Basis | None, float]:
    """Return the probe of this configuration on this hardware, and the time when it was written."""
    with suppress(OSError, ValueError, DataError):
        place = _place(config, hardware)
        return Basis.model_validate_json(place.read_text()), place.stat().st_mtime
    return None, 0.0


def _place(config: SweepConfig, hardware: Hardware) -> Path:
    code = [plugin.sha256 for plugin in logged_plugins(config.model)]
    parts = config.model_dump(mode="json", include=DECISIVE)
    decisive = [parts, config.constants, hardware, dict(versions()), code]
    return cache_folder() / f"probe-{sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]}.json"


def _basis(config: SweepConfig, experiment: Experiment, hardware: Hardware) -> Basis | None:
    """Return the costs of an experiment's trials, or None if they are not like those of `config`."""
    records = experiment.read_records()
    if records.config.get("model") != config.model or experiment.hardware() != hardware:
        return None
    theirs = experiment.logged_config(records)
    if not _is_alike(config, theirs, records):
        return None
    fitting = [record for record in records.searched if not misfit(config, {**theirs.constants, **record.params})]
    everything = [*fitting, *(again for record in fitting for again in record.retrainings)]
    mean = logged_cost(theirs, everything)
    if mean is None:
        return None
    baselines, others = (
        [
            scaled_cost(cost.model_copy(update={"recheck": mean.recheck}), theirs, config)
            for record in fitting
            if (record.source == "baseline") is baseline and (cost := logged_cost(theirs, [record], mean))
        ]
        for baseline in (True, False)
    )
    trials = "1 trial" if len(fitting) == 1 else f"{len(fitting)} trials"
    return Basis(
        name=f"experiment {experiment.folder.name} ({trials})",
        slots=hardware.slots,
        baselines=baselines,
        others=others,
        start_seconds=records.preparation or 0.0,
        phase_seconds=phase_seconds(records),
        checkpoint_bytes=_checkpoint_bytes(experiment, everything),
        picture_bytes=_picture_bytes(experiment, everything),
    )


def _is_alike(config: SweepConfig, theirs: SweepConfig, records: Records) -> bool:
    """Return True if a trial with the same parameters costs the same in both sweeps."""
    gpus = config.resources.gpu if config.resources.gpu != "auto" else theirs.resources.gpu
    code = [plugin.sha256 for plugin in logged_plugins(config.model)]
    return (
        theirs.data == config.data
        and theirs.evaluation.features == config.evaluation.features
        and (theirs.resources.cpu, theirs.resources.gpu) == (config.resources.cpu, gpus)
        and [plugin.sha256 for plugin in records.plugins] == code
        and not theirs.retraining
    )


def _checkpoint_bytes(experiment: Experiment, records: Sequence[TrialRecord]) -> float:
    """Return the size of a checkpoint in the folder, or 0 if they lie elsewhere."""
    places = (experiment.folder / one.path for record in records for one in reversed(record.checkpoints))
    folder = next((place for place in places if place.is_dir()), None)
    return float(sum(file.stat().st_size for file in folder.iterdir())) if folder else 0.0


def _picture_bytes(experiment: Experiment, records: Sequence[TrialRecord]) -> float:
    """Return the size of the pictures of one evaluation."""
    pictures: Mapping[str, str] = next((rung.pictures for record in records for rung in record.rungs), {})
    return float(sum((experiment.folder / path).stat().st_size for path in pictures.values()))
