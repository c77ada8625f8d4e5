"""Evaluate a checkpoint, ours or the reference project's, as a trial of a sweep is evaluated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from search_spaces.distributions import Scalar
from trainables import storage
from trainables.catalog import MODELS
from trainables.contract import DataError, DataSpec, NonFiniteError, RunSpec
from tune_app.config.methods import values_of_then
from tune_app.config.model_parameters import data_spec, model_parameters
from tune_app.errors import InputError, TuneAppError, first_line
from tune_app.experiment.folder import Experiment
from tune_app.experiment.model_code import load_code

if TYPE_CHECKING:
    from typing import Any

    from trainables.training import ImageRun

STEP_SIZES = (2.0, 3.5, 6.0)
"""Step sizes to try if none is given. For nearly every network, the best step size lies in this range."""
RunLoader = Callable[[RunSpec], "ImageRun"]


@dataclass(frozen=True)
class MeasureRequest:
    """A checkpoint and how to evaluate it. None: as the checkpoint says."""

    checkpoint: Path
    data: str | None
    resolution: int | None
    samples: int
    nfe: int
    seed: int
    sets: Mapping[str, str] = field(default_factory=dict)


def measure_checkpoint(request: MeasureRequest, say: Callable[[str], None]) -> dict[str, Any]:
    """Return the metrics of a checkpoint on held-out images.

    A checkpoint inside an experiment is evaluated with the experiment's own features, so its metrics compare with the
    sweep's. `reference_loss` is the training loss as the reference's code computes it: summed over dimensions. Raise
    InputError for a checkpoint, setting or data set that cannot be used.
    """
    path = request.checkpoint
    with _refusals(path):
        run, about = _load(request)

        from trainables.sample_metrics import sample_metrics_of

        spec, images = run.spec, run.data
        features, saved = _features(path)
        metrics = sample_metrics_of(spec.data, features, saved=saved)
        evaluation = run.evaluate(final=True, sample_metrics=metrics)
    if spec.data.evaluated_on == "test":
        say("note: a retraining has trained on the held-out images, so the test images are used")
    if path.is_file():
        say("note: the reference trains on all training images, including those held out here")
        if about["averaged"]:
            say(f"note: the averaged weights in the file are used, those under {about['averaged']!r}")
    return {
        "model": spec.model,
        "checkpoint": str(path),
        "data": {"name": spec.data.name, "resolution": spec.data.resolution, "fingerprint": images.fingerprint},
        "features": evaluation.features,
        "samples": request.samples,
        "params": dict(spec.params),
        "sampling": evaluation.settled,
        "metrics": {**evaluation.metrics, "reference_loss": _reference_loss(spec, evaluation.metrics["loss"])},
    }


def load_run(request: MeasureRequest) -> ImageRun:
    """Return the run in a checkpoint, with its images. Raise InputError."""
    with _refusals(request.checkpoint):
        return _load(request)[0]


def _load(request: MeasureRequest) -> tuple[ImageRun, Mapping[str, object]]:
    path = request.checkpoint
    if experiment := _enclosing_experiment(path):
        load_code(experiment.folder)
    place = _place(path)  # a missing file is named before torch is imported
    with storage.local(place) as folder:
        about, load = _read_seed_checkpoint(path) if path.is_file() else _read_checkpoint(folder)
    return load(_run_spec(about, request)), about


@contextmanager
def _refusals(path: Path) -> Iterator[None]:
    """Turn what is wrong with a checkpoint or its images into a sentence."""
    from trainables import checkpoint

    try:
        yield
    except checkpoint.CheckpointError as error:
        raise InputError(str(error)) from None
    except DataError as error:
        raise InputError(f"{error.key}: {error}") from None
    except NonFiniteError as error:
        raise TuneAppError(f"{path}: {error}") from None


def _reference_loss(spec: RunSpec, loss: float) -> float:
    """Return the training loss as the reference's code computes it. Its IWAE halves the squared error."""
    return loss / float(spec.params["beta"]) if spec.params.get("bound") == "iwae" else loss


def measurement_lines(document: Mapping[str, Any]) -> list[str]:
    """Return the document of `measure_checkpoint` as text."""
    name, side = document["data"]["name"], document["data"]["resolution"]
    lines = [
        f"{document['checkpoint']}: {document['model']} on {name}, {side} x {side} pixels",
        f"  features {document['features']}, {document['samples']} samples",
    ]
    lines += [f"  {name:24}{value:.6g}" for name, value in document["metrics"].items()]
    return [*lines, *(f"  {name:24}{value}" for name, value in document["sampling"].items())]


def _place(path: Path) -> str:
    """Return the checkpoint's location: a local path, or its address in the experiment's remote storage."""
    experiment = _enclosing_experiment(path)
    if path.exists():
        return str(path)
    if experiment is None:
        raise InputError(f"{path}: there is no such file or folder")
    place = experiment.place(experiment.relative(path.absolute()), experiment.config().storage)
    if not storage.exists(place):
        raise InputError(f"{place}: there is no checkpoint there")
    return place


def _read_checkpoint(folder: Path) -> tuple[Mapping[str, object], RunLoader]:
    """Return the description of one of our checkpoints, and a function that loads it into a run."""
    from trainables import checkpoint

    state, about = checkpoint.read(folder)

    def load(spec: RunSpec) -> ImageRun:
        run = _build(spec)
        try:
            run.load_state(state)
        except Exception as error:
            raise InputError(f"{folder}: its weights do not fit its settings: {first_line(error)}") from None
        return run

    spec = about.get("spec")
    return spec if isinstance(spec, dict) else {}, load


def _read_seed_checkpoint(path: Path) -> tuple[Mapping[str, object], RunLoader]:
    """Return the description of a reference project's checkpoint, and a function that loads it into a run."""
    from trainables import seed_checkpoint

    content = seed_checkpoint.read(path)

    def load(spec: RunSpec) -> ImageRun:
        run = _build(spec)
        try:
            content.load_into(run.network)
        except RuntimeError as error:
            raise InputError(f"{path}: its weights do not fit the settings: {first_line(error)}") from None
        return run

    params, averaged = {**content.params, "ema": 0.0}, content.key if content.averaged else ""
    return {"model": content.model, "params": params, "averaged": averaged}, load


def _build(spec: RunSpec) -> ImageRun:
    from trainables.build import build
    from trainables.training import ImageRun

    run = build(spec)
    assert isinstance(run, ImageRun)
    return run


def _run_spec(about: Mapping[str, object], request: MeasureRequest) -> RunSpec:
    """Return the run to evaluate. The checkpoint's description is checked like a person's options."""
    model, saved = about.get("model"), about.get("params")
    if (
        not isinstance(model, str)
        or not isinstance(saved, dict)
        or model not in MODELS
        or not MODELS[model].uses_images
    ):
        raise InputError("the checkpoint does not say which model and parameters it has")
    known = MODELS[model].parameters
    if foreign := [name for name in saved if name not in known]:
        raise InputError(f"{request.checkpoint}: it says that it is a {model}, which has no {', '.join(foreign)}")

    def where(name: str, value: object) -> str:
        return f"--set {name}={value}" if name in request.sets else f"{request.checkpoint}: {name}={value}"

    params = model_parameters(model, {**values_of_then(model, "training"), **saved, **request.sets}, where=where)
    sampling = {name: value for name, value in params.items() if known[name].stage == "sampling"}
    settings: tuple[dict[str, Scalar], ...] = (sampling,)
    if "step_size" in sampling and not {"step_size", "step_lr"} & request.sets.keys():
        settings = tuple({**sampling, "step_size": size} for size in STEP_SIZES)
    return RunSpec(
        model=model,
        params={name: value for name, value in params.items() if known[name].stage == "training"},
        seed=request.seed,
        common_seed=request.seed,
        data=_data_spec(model, about.get("data"), request),
        final_samples=request.samples,
        nfe=request.nfe,
        final_sampling=settings,
    )


def _data_spec(model: str, saved: object, request: MeasureRequest) -> DataSpec:
    saved = saved if isinstance(saved, dict) else {}
    name, path = str(saved.get("name", "cifar10")), saved.get("path")
    side = request.resolution or saved.get("resolution", 32)
    if not isinstance(side, int):
        raise InputError(f"the checkpoint's resolution {side!r} is not a whole number; give --resolution")
    keys = {"resolution": side, "channels": saved.get("channels", 3)}
    if saved.get("crop"):
        keys["resize"] = {"side": side, "crop": saved["crop"]}
    spec = data_spec(model, request.data or (f"{name}:{path}" if path else name), keys)
    retrained = request.data is None and saved.get("evaluated_on") == "test"
    return replace(spec, evaluated_on="test") if retrained else spec


def _features(path: Path) -> tuple[str, bytes]:
    """Return the feature setting of the enclosing experiment, and the weights of its trained features."""
    experiment = _enclosing_experiment(path)
    if experiment is None:
        return "auto", b""
    saved = experiment.features.read_bytes() if experiment.features.is_file() else b""
    return experiment.config().evaluation.features, saved


def _enclosing_experiment(path: Path) -> Experiment | None:
    folders = (folder for folder in path.absolute().parents if (folder / "events.jsonl").is_file())
    return next(map(Experiment, folders), None)
