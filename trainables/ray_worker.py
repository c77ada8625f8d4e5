"""A Trial as a ray.tune.Trainable: the only file of this package that imports ray."""

from __future__ import annotations

import os
import sys
import time
from functools import lru_cache
from typing import Any, NamedTuple

import ray
from ray import tune

from trainables import checkpoint, storage
from trainables.contract import NonFiniteError, RunSpec
from trainables.trial import Recheck, Trial, images

PARKED_SECONDS, WARM_SECONDS = 0.2, 0.02


class RayTrial(tune.Trainable):
    """One actor, one trial object at a time: a reused actor throws the last one away whole.

    `config`: `spec` (a RunSpec), `yardstick` (where in Ray's object store it lies, or None), `rungs`, `report_kimg`,
    `checkpoint_kimg`, `threads`; and places, see storage.py: `folder`, where checkpoints go;
    `checkpoints`, those to continue from, the first whole one counts; `park_file`, whose presence asks to park.
    Without a `spec` the actor only starts, and waits for its first trial.
    """

    trial: Trial | None

    def setup(self, config: dict[str, Any]) -> None:
        _threads(config["threads"])
        self._parked = False
        self.trial = None
        if "spec" not in config:
            return
        self.trial = Trial(
            config["spec"],
            rungs=config["rungs"],
            report_kimg=config["report_kimg"],
            yardstick=_shared(config["yardstick"]),
        )
        _restore(self.trial, config["checkpoints"])
        self._saved = self.trial.images
        self._least = images(config["checkpoint_kimg"] or 0)
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
            report = self.trial.advance()
        except NonFiniteError as error:
            return {"failed": str(error)}
        self._parked = storage.exists(self._park_file)
        due = report.rung or self._parked or self.trial.images - self._saved >= self._least
        # a Report, not a dict, which Tune would flatten; the checkpoint is ours, as Tune's are not written whole
        return {"report": report, "parked": self._parked, "checkpoint": self._save() if due else None}

    def _save(self) -> str:
        """Write a checkpoint; its name, which the same images always give: work done twice replaces it."""
        assert self.trial
        name = f"checkpoint_{self.trial.images:09d}"
        storage.save(storage.below(self._folder, name), self.trial.save)
        self._saved = self.trial.images
        return name


class Prepared(NamedTuple):
    """What a driver keeps of the data and of the yardstick; both themselves stay with the workers."""

    data: str
    """Fingerprint of the images."""
    features: dict[str, str]
    """Fingerprint of each feature set by name, the sweep's own first."""
    cnn: bytes
    """Weights of the cnn features, where they are used."""


def prepare(spec: RunSpec, features: str, saved: bytes, fid: bool) -> tuple[Prepared, Any]:
    """Decode the data of `spec` into the cache that all trials share, and make the sweep's yardstick.

    Raises DataError.
    """
    _threads(max(1, (os.cpu_count() or 1) // 2))  # nothing else of the sweep runs yet
    from trainables import data
    from trainables import sample_metrics as yardstick

    images = data.load(spec.data)
    made = yardstick.build(images, features, saved=saved, fid=fid)
    return Prepared(images.fingerprint, made.fingerprints, made.cnn), made


def recheck(spec: RunSpec, checkpoints: list[str], yardstick: Any, threads: int, plan: dict[str, int]) -> Recheck | str:
    """Measure the newest whole one of `checkpoints` again as Trial.recheck does by `plan`; a str says why it cannot."""
    _threads(threads)
    trial = Trial(spec, rungs=[spec.max_kimg], report_kimg=spec.max_kimg, yardstick=yardstick)
    try:
        if not _restore(trial, checkpoints):
            return "none of its checkpoints is whole"
        return trial.recheck(**plan)
    except (NonFiniteError, checkpoint.CheckpointError) as error:
        return str(error)


def need(spec: RunSpec, yardstick: Any) -> tuple[float, str, float]:
    """The GPU memory of a run of `spec` in GB, the GPU's name and its size."""
    from trainables import gpu_memory as memory

    found = memory.need(spec, yardstick)
    return found.gb, found.gpu, found.gpu_gb


def _restore(trial: Trial, checkpoints: list[str]) -> bool:
    """Load the first whole one of `checkpoints`; whether there is one."""
    for place in checkpoints:
        with storage.local(place) as folder:
            if checkpoint.whole(folder):
                trial.load(folder)
                return True
    return False


@lru_cache(maxsize=1)
def _shared(reference: Any) -> Any:
    """What lies in Ray's object store there, once a process."""
    return None if reference is None else ray.get(reference)


def _threads(count: int) -> None:
    """One thread a CPU of the trial: two trials with two threads each on two cores fight at every barrier."""
    os.environ["OMP_NUM_THREADS"] = str(count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)
