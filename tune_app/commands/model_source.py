"""The trained model that a command names: a trial of an experiment, a checkpoint, or an exported folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from search_spaces.distributions import Scalar
from trainables.catalog import MODELS
from tune_app.commands.measure_checkpoint import MeasureRequest, load_run
from tune_app.errors import InputError
from tune_app.experiment.folder import Experiment
from tune_app.experiment.model_code import load_code
from tune_app.experiment.out_folder import find
from tune_app.experiment.ranking import TrialResult, best_result, ranked, trial_result

if TYPE_CHECKING:
    from trainables.data import ImageData
    from trainables.saved_model import SavedModel
    from trainables.training import ImageRun

EXPORTED = "config.json"
NFE = 100
"""Network evaluations for an image, for a checkpoint that does not say how it is sampled."""


@dataclass(frozen=True)
class Source:
    """A trained model, and where it comes from."""

    model: SavedModel
    data: ImageData | None
    """The images that it was trained on; None for an exported folder."""
    experiment: Experiment | None = None
    result: TrialResult | None = None


def trained_model(where: str, out: Path, trial: str | None = None) -> Source:
    """Return the model that `where` names. Raise InputError.

    `where` is an experiment (its winner, or `trial`), a checkpoint of ours or of the reference project, or a folder
    that `export` wrote.
    """
    path = Path(where)
    if (path / EXPORTED).is_file():
        return Source(_exported(path), None)
    if path.is_file() or (path / "about.json").is_file():
        run = load_run(MeasureRequest(path, None, None, samples=64, nfe=NFE, seed=0))
        settings = run.spec.final_sampling
        return Source(_of_run(run, settings[len(settings) // 2], NFE), run.data)
    experiment = find(where, out)
    load_code(experiment.folder)
    result = _chosen(experiment, trial)
    assert result.checkpoint
    config = experiment.config()
    nfe = config.recheck.nfe if result.draws else config.evaluation.nfe
    checkpoint = experiment.folder / result.checkpoint
    run = load_run(MeasureRequest(checkpoint, None, None, samples=64, nfe=nfe, seed=0))
    if run.spec.model != config.model:
        raise InputError(
            f"{checkpoint}: this is a checkpoint of {run.spec.model}, and the sweep is one of {config.model}"
        )
    known = MODELS[config.model].parameters
    given = {**config.constants, **result.params}
    sampling = {name: value for name, value in given.items() if known[name].stage == "sampling"}
    return Source(_of_run(run, sampling, nfe), run.data, experiment, result)


def _chosen(experiment: Experiment, trial: str | None) -> TrialResult:
    """Return the result of a trial, or of the winner. Raise InputError if it has no checkpoint."""
    records, config = experiment.read_records(), experiment.config()
    metric = config.metric.name
    if not MODELS[config.model].uses_images:
        raise InputError(f"{experiment.folder}: {config.model} is no model of images")
    if trial is None:
        result = best_result(records.trials.values(), metric, config.retraining)
        if result is None:
            raise InputError(f"{experiment.folder}: no trial has reached a rung, so there is no model yet")
    else:
        record = records.trials.get(trial)
        if record is None or not record.rungs:
            known = ", ".join(one.id for one in ranked(records.trials.values(), metric)) or "none"
            raise InputError(f"--trial {trial}: no such trial has reached a rung", hint=f"the finalists are: {known}")
        result = trial_result(record, metric)
    if result.checkpoint is None:
        raise InputError(f"trial {result.trial} has no checkpoint at {result.kimg:g} kimg any more")
    return result


def _exported(path: Path) -> SavedModel:
    from trainables.checkpoint import CheckpointError
    from trainables.saved_model import SavedModel

    try:
        return SavedModel.load(path)
    except CheckpointError as error:
        raise InputError(str(error)) from None


def _of_run(run: ImageRun, sampling: Mapping[str, Scalar], nfe: int) -> SavedModel:
    from trainables.saved_model import SavedModel

    return SavedModel.of_run(run, sampling, nfe)
