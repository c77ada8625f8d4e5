"""A Trial as a ray.tune.Trainable: the only file of this package that imports ray."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from ray import tune

from trainables.model import NonFiniteError, RunSpec
from trainables.trial import Trial

PARKED_SECONDS, WARM_SECONDS = 0.2, 0.02


class RayTrial(tune.Trainable):
    """One actor, one trial object at a time: a reused actor throws the last one away whole.

    `config`: `spec` (a RunSpec), `rungs`, `report_kimg`, `threads`, and `stop_file`, whose presence asks to park.
    Without a `spec` the actor only starts, and waits for its first trial.
    """

    trial: Trial | None

    def setup(self, config: dict[str, Any]) -> None:
        _threads(config["threads"])
        self._stop_file = Path(config["stop_file"])
        self._parked = False
        self.trial = None
        if "spec" in config:
            self.trial = Trial(config["spec"], rungs=config["rungs"], report_kimg=config["report_kimg"])

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
        self._parked = self._stop_file.exists()
        result = {"report": report, "parked": self._parked}  # a Report, not a dict, which Tune would flatten
        if report.rung or self._parked:
            result["should_checkpoint"] = True
        return result

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        assert self.trial
        self.trial.save(Path(checkpoint_dir))

    def load_checkpoint(self, checkpoint: str) -> None:
        assert self.trial
        self.trial.load(Path(checkpoint))


def prepare(spec: RunSpec, threads: int) -> str:
    """Decode the data of `spec` into the cache that all trials share; its fingerprint. Raises DataError."""
    _threads(threads)
    from trainables import data

    return data.load(spec.data).fingerprint


def _threads(count: int) -> None:
    """One thread a CPU of the trial: two trials with two threads each on two cores fight at every barrier."""
    os.environ["OMP_NUM_THREADS"] = str(count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)
