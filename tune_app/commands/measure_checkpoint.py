"""A checkpoint, ours or the reference project's, measured like a trial of a sweep."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables import storage
from trainables.catalog import MODELS
from trainables.contract import DataError, DataSpec, NonFiniteError, RunSpec, Scalar
from tune_app.commands.train import check_data
from tune_app.config.load import data_choice, model_parameters
from tune_app.errors import InputError, TuneAppError
from tune_app.experiment.folder import Experiment

if TYPE_CHECKING:
    from trainables.training import ImageRun

STEP_SIZES = (2.0, 3.5, 6.0)
"""Tried where no step is asked for: the best one of nearly every network lies among them or between."""


def score(
    path: Path,
    sets: Mapping[str, str],
    *,
    data: str | None,
    resolution: int | None,
    samples: int,
    nfe: int,
    seed: int,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Metrics of the checkpoint at `path` on held-out images: of the data set that it tells of, or of `data`.

    One inside an experiment is held against the experiment's own features, so that its numbers compare with the
    sweep's. `reference_loss` is the training loss as the reference's code computes it: summed over dimensions. Raises
    InputError for a checkpoint, setting or data set that cannot be used.
    """
    from trainables import checkpoint
    from trainables import data as data_sets
    from trainables import sample_metrics as yardstick

    try:
        with storage.local(_place(path)) as found_at:
            about, load = _file(path) if path.is_file() else _folder(found_at)
        spec = _spec(about, sets, data=data, resolution=resolution, samples=samples, nfe=nfe, seed=seed)
        images = data_sets.load(spec.data)
        run = load(spec)
        features, saved = _features(path)
        found = run.evaluate(final=True, yardstick=yardstick.build(images, features, saved=saved))
    except checkpoint.CheckpointError as error:
        raise InputError(str(error)) from None
    except DataError as error:
        raise InputError(f"{error.key}: {error}") from None
    except NonFiniteError as error:
        raise TuneAppError(f"{path}: {error}") from None
    if path.is_file():
        say("note: the reference trains on every training image, those held out here included")
    return {
        "model": spec.model,
        "checkpoint": str(path),
        "data": {"name": spec.data.name, "resolution": spec.data.resolution, "fingerprint": images.fingerprint},
        "features": found.features,
        "samples": samples,
        "params": dict(spec.params),
        "sampling": found.sampling,
        "metrics": {**found.metrics, "reference_loss": found.metrics["loss"]},
    }


def score_lines(found: dict[str, Any]) -> list[str]:
    """The same in words."""
    name, side = found["data"]["name"], found["data"]["resolution"]
    lines = [
        f"{found['checkpoint']}: {found['model']} on {name}, {side} x {side} pixels",
        f"  features {found['features']}, {found['samples']} samples",
    ]
    lines += [f"  {name:24}{value:.6g}" for name, value in found["metrics"].items()]
    return [*lines, *(f"  {name:24}{value}" for name, value in found["sampling"].items())]


def _place(path: Path) -> str:
    """Where a checkpoint lies: there, or where the experiment that it is of keeps those that lie elsewhere."""
    experiment = _experiment(path)
    if path.exists() or experiment is None:
        return str(path)
    place = experiment.place(experiment.relative(path.absolute()), experiment.config().storage)
    if not storage.exists(place):
        raise InputError(f"{place}: there is no checkpoint there")
    return place


Loader = Callable[[RunSpec], "ImageRun"]


def _folder(path: Path) -> tuple[dict[str, Any], Loader]:
    """What a checkpoint of ours says of itself, and how its run is made from a spec."""
    from trainables import checkpoint

    state, about = checkpoint.read(path)

    def load(spec: RunSpec) -> ImageRun:
        run = _built(spec)
        try:
            run.load_state(state)
        except Exception as error:
            raise InputError(f"{path}: its weights do not fit its settings: {str(error).splitlines()[0]}") from None
        return run

    found = about.get("spec")
    return found if isinstance(found, dict) else {}, load


def _file(path: Path) -> tuple[dict[str, Any], Loader]:
    from trainables import seed_checkpoint as reference

    found = reference.read(path)

    def load(spec: RunSpec) -> ImageRun:
        run = _built(spec)
        try:
            found.load_into(run.network)
        except RuntimeError as error:
            raise InputError(f"{path}: its weights do not fit the settings: {str(error).splitlines()[0]}") from None
        return run

    return {"model": found.model, "params": {**found.params, "ema": 0.0}}, load


def _built(spec: RunSpec) -> ImageRun:
    from trainables import catalog
    from trainables.training import ImageRun

    run = catalog.build(spec)
    assert isinstance(run, ImageRun)
    return run


def _spec(
    about: dict[str, Any],
    sets: Mapping[str, str],
    *,
    data: str | None,
    resolution: int | None,
    samples: int,
    nfe: int,
    seed: int,
) -> RunSpec:
    """How the checkpoint is to be measured, all that it says of itself checked like a person's words."""
    model, told = about.get("model"), about.get("params")
    if not isinstance(model, str) or not isinstance(told, dict) or model not in MODELS or not MODELS[model].uses_images:
        raise InputError("the checkpoint does not say of which model and with which parameters it is")
    params = model_parameters(model, {**told, **sets})
    known = MODELS[model].parameters
    inner = {name: value for name, value in params.items() if known[name].stage == "sampling"}
    settings: tuple[dict[str, Scalar], ...] = (inner,)
    if "step_size" in inner and not {"step_size", "step_lr"} & sets.keys():
        settings = tuple({**inner, "step_size": size} for size in STEP_SIZES)
    return RunSpec(
        model=model,
        params={name: value for name, value in params.items() if known[name].stage == "training"},
        seed=seed,
        common_seed=seed,
        data=_data(about.get("data"), data, resolution),
        final_samples=samples,
        nfe=nfe,
        final_sampling=settings,
    )


def _data(told: Any, asked: str | None, resolution: int | None) -> DataSpec:
    told = told if isinstance(told, dict) else {}
    name, path = data_choice(asked) if asked else (str(told.get("name", "cifar10")), told.get("path"))
    check_data(name, path)
    side = resolution or told.get("resolution", 32)
    if not isinstance(side, int):
        raise InputError(f"the checkpoint names {side!r} for a resolution; give --resolution")
    return DataSpec(name, side, path)


def _features(path: Path) -> tuple[str, bytes]:
    """The features of the experiment that the checkpoint lies in, and the weights of the trained ones."""
    experiment = _experiment(path)
    if experiment is None:
        return "auto", b""
    saved = experiment.features.read_bytes() if experiment.features.is_file() else b""
    return experiment.config().evaluation.features, saved


def _experiment(path: Path) -> Experiment | None:
    """The one that `path` lies in."""
    found = (folder for folder in path.absolute().parents if (folder / "events.jsonl").is_file())
    return next(map(Experiment, found), None)
