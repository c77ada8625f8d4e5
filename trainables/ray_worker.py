"""The Ray actor that runs trials: the only file of this package that imports ray."""

import os
import queue
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import ray
from ray import tune

from trainables import checkpoint, gpu_memory, progress, storage
from trainables import probe as probing
from trainables.contract import DataError, NonFiniteError, PluginError, RunSpec
from trainables.cpus import cpus
from trainables.plugin_code import entry_of, where_it_failed
from trainables.trial import Recheck, Trial, images

PARKED_SECONDS, WARM_SECONDS, PROGRESS_SECONDS = 0.2, 0.02, 0.2
SECONDS_BETWEEN_CHECKPOINTS = 30.0
"""On a GPU, unless `failures.checkpoint_kimg` is set: there a report may come every second."""
BEGINS = "tune_app trial "
"""A worker prints this and the trial's id when it begins a trial, so that its output can be split by trial."""


class RayWorker(tune.Trainable):
    """One actor with one trial at a time. A reused actor discards its last trial completely.

    `config` holds `trial` (its id), `spec` (a RunSpec), `sample_metrics` (its ObjectRef, or None), `rungs`,
    `report_kimg`, `checkpoint_kimg` and `threads`, and three places (see storage.py): `folder` for checkpoints;
    `checkpoints` to continue from, of which the first complete one is used; `park_file`, which asks the trial to park
    while it exists.
    Without a `spec` the actor only starts and waits for its first trial.
    """

    trial: Trial | None

    def setup(self, config: dict[str, Any]) -> None:
        _threads(config["threads"])
        self._parked = False
        self.trial = None
        if "spec" not in config:
            return
        for stream in (sys.stdout, sys.stderr):
            print(f"{BEGINS}{config['trial']}", file=stream, flush=True)
        _check_gpu(config["spec"])
        gpu_memory.release()
        self._spec = config["spec"]
        with _named_errors(self._spec):
            self.trial = Trial(
                config["spec"],
                rungs=config["rungs"],
                report_kimg=config["report_kimg"],
                sample_metrics=_shared(config["sample_metrics"]),
            )
        _restore(self.trial, config["checkpoints"])
        self._saved, self._saved_at = self.trial.images, time.monotonic()
        self._least = images(config["checkpoint_kimg"] or 0)
        self._least_seconds = SECONDS_BETWEEN_CHECKPOINTS if config["checkpoint_kimg"] is None and _has_gpu() else 0.0
        self._folder, self._park_file = config["folder"], config["park_file"]

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.trial = None
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        if self.trial is None:
            time.sleep(WARM_SECONDS)
            return {"warm": True}
        if self._parked:
            time.sleep(PARKED_SECONDS)
            return {"parked": True}
        try:
            with _named_errors(self._spec):
                report = self.trial.advance()
        except NonFiniteError as error:
            return {"failed": ": ".join([*(plugin.name for plugin in self._spec.plugins), str(error)])}
        with suppress(OSError):  # a storage that does not answer is asked again at the next report
            self._parked = storage.exists(self._park_file)
        due = report.rung or self._parked or self._is_checkpoint_due()
        # a Report, because Tune would flatten a dict; our own checkpoint, because Tune's are not written atomically
        return {"report": report, "parked": self._parked, "checkpoint": self._save() if due else None}

    def _is_checkpoint_due(self) -> bool:
        """Return True if the last checkpoint is old enough, in images and in seconds."""
        assert self.trial
        old = self.trial.images - self._saved >= self._least
        return old and time.monotonic() - self._saved_at >= self._least_seconds

    def _save(self) -> str:
        """Write a checkpoint and return its name."""
        assert self.trial
        name = checkpoint.name_at(self.trial.images)
        storage.save(storage.below(self._folder, name), self.trial.save)
        self._saved, self._saved_at = self.trial.images, time.monotonic()
        return name


class Prepared(NamedTuple):
    """Summary of the data and the sample metrics, for the driver. The data and the metrics stay with the workers."""

    data: str
    """Fingerprint of the images."""
    features: dict[str, str]
    """Fingerprint of each feature set by name, the sweep's own first."""
    cnn: bytes
    """Weights of the cnn features, if they are used."""
    real_images: bytes
    """PNG of held-out images."""
    scale: dict[str, float]
    """kid of corrupted real images, by corruption."""
    compared: dict[str, int]
    """Number of real images that samples are compared with, by the part of the sweep that compares them."""
    searched: str
    """Fingerprint of the images as a search uses them. A retraining uses the same images, split otherwise."""


def prepare(spec: RunSpec, features: str, saved: bytes, fid: bool, version: int) -> Iterator[Any]:
    """Decode the data of `spec` into the cache that all trials share, and make the sweep's sample metrics.

    Yield lines that say how far that is, then the Prepared, then the sample metrics. Raise DataError.
    """
    _threads(max(1, cpus() // 2))  # nothing else of the sweep runs yet
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    with ThreadPoolExecutor(1) as pool, progress.listening(lines.put):
        preparing = pool.submit(_prepare, spec, features, saved, fid, version)
        while not preparing.done():
            with suppress(queue.Empty):
                yield lines.get(timeout=PROGRESS_SECONDS)
        summary, sample_metrics = preparing.result()
    yield summary
    yield sample_metrics


def _prepare(spec: RunSpec, features: str, saved: bytes, fid: bool, version: int) -> tuple[Prepared, Any]:
    from trainables import data, evaluation, sample_metrics

    images = data.load(spec.data)
    searched = data.load(replace(spec.data, evaluated_on="held_out"))
    made = sample_metrics.sample_metrics_of(spec.data, features, saved=saved, fid=fid, version=version)
    compared = {"search": made.compared, "re-evaluation": (made.fresh or made).compared}
    if spec.data.evaluated_on == "test":
        compared = {"retraining": made.compared}
    real, prints = evaluation.real_images(images), (images.fingerprint, made.fingerprints)
    return Prepared(*prints, made.cnn, real, made.scale, compared, searched.fingerprint), made


def recheck(
    spec: RunSpec, checkpoints: list[str], sample_metrics: Any, threads: int, plan: dict[str, int]
) -> Recheck | str:
    """Re-evaluate the newest complete checkpoint with Trial.recheck(**plan). Return the reason if it is impossible."""
    _threads(threads)
    trial = Trial(spec, rungs=[spec.max_kimg], report_kimg=spec.max_kimg, sample_metrics=sample_metrics)
    try:
        if not _restore(trial, checkpoints):
            return "none of its checkpoints is complete"
        if trial.images != images(spec.max_kimg):
            return f"its newest complete checkpoint is at {trial.images / 1000:g} kimg, not at {spec.max_kimg:g} kimg"
        with _named_errors(spec):
            return trial.recheck(**plan)
    except (NonFiniteError, checkpoint.CheckpointError) as error:
        return str(error)


def probe(
    spec: RunSpec, sample_metrics: Any, threads: int, report_kimg: float, again: dict[str, int] | None, seconds: float
) -> probing.ProbedCost | str:
    """Measure what a setting costs, see probe.py. Return the reason if it cannot be trained."""
    _threads(threads)
    _check_gpu(spec)
    gpu_memory.release()
    try:
        with _named_errors(spec):
            return probing.probe(
                spec, report_kimg=report_kimg, sample_metrics=sample_metrics, again=again, seconds=seconds
            )
    except NonFiniteError as error:
        return str(error)


def need(spec: RunSpec, sample_metrics: Any) -> tuple[float, str, float]:
    """Return the GPU memory of a run in GB, the GPU's name and its size."""
    measured = gpu_memory.need(spec, sample_metrics)
    return measured.gb, measured.gpu, measured.gpu_gb


@contextmanager
def _named_errors(spec: RunSpec) -> Iterator[None]:
    """Raise PluginError, which names the user's file and line, for an error of a run that a plug-in may have caused."""
    try:
        yield
    except (NonFiniteError, PluginError, DataError, OSError):
        raise
    except Exception as error:
        if not spec.plugins:
            raise
        raise PluginError(where_it_failed(spec.plugins, error)) from error


def _restore(trial: Trial, checkpoints: list[str]) -> bool:
    """Load the first complete checkpoint of the list. Return False if none is complete."""
    for place in checkpoints:
        with storage.local(place) as folder:
            if checkpoint.is_complete(folder):
                trial.load(folder)
                return True
    return False


@lru_cache(maxsize=1)
def _shared(object_ref: Any) -> Any:
    """Return the object behind an ObjectRef, fetched once for each process."""
    return None if object_ref is None else ray.get(object_ref)


def _gpus() -> list[str]:
    """Return the GPUs that Ray gave this process."""
    return ray.get_runtime_context().get_accelerator_ids()["GPU"] if ray.is_initialized() else []


def _has_gpu() -> bool:
    return bool(_gpus())


def _check_gpu(spec: RunSpec) -> None:
    """Raise RuntimeError if Ray gave this process a GPU that torch cannot use. The trial would train on the CPU."""
    given = _gpus()
    if not given or not entry_of(spec).uses_images:
        return
    import torch

    if not torch.cuda.is_available():
        raise RuntimeError(f"the trial was given GPU {', '.join(given)}, but torch finds no GPU: see `tune_app doctor`")


def _threads(count: int) -> None:
    """Use `count` threads. Trials that use more threads than they have CPUs slow each other down."""
    os.environ["OMP_NUM_THREADS"] = str(count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)
