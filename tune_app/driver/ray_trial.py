"""A Tune trial under our id, that sorts its failures by kind and retries them within the sweep's limit."""

from __future__ import annotations

import re
from typing import Any

from ray import tune
from ray.exceptions import OutOfMemoryError, RayActorError
from ray.tune.experiment import Trial

from trainables.ray_trainable import RayTrial

ANSI = re.compile(r"\x1b\[[0-9;]*m")


class TrackedTrial(Trial):
    """Tune's Trial, named by the sweep; `failure` holds (kind, message, traceback) of the last error."""

    def __init__(
        self,
        name: str,
        *,
        failed: int,
        retries: int,
        config: dict[str, Any],
        resources: tune.PlacementGroupFactory,
        storage: Any,
    ) -> None:
        self._failed = failed
        self._retries = retries
        self.failure: tuple[str, str, str] | None = None
        super().__init__(
            RayTrial.__name__,
            config=config,
            trial_id=name,
            storage=storage,
            placement_group_factory=resources,
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            max_failures=retries,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
            stub=True,
        )

    def get_trainable_cls(self) -> type[RayTrial]:
        return RayTrial  # without Tune's registry, whose look-ups cost 5 ms a trial

    def handle_error(self, exc: Any = None) -> None:
        self._failed += 1
        self.failure = _sorted(exc)
        super().handle_error(exc)

    def should_recover(self) -> bool:
        return self._failed <= self._retries


def _sorted(exc: BaseException | None) -> tuple[str, str, str]:
    """The kind, one line, and the whole traceback of what ended a worker's call."""
    text = ANSI.sub("", str(exc)).strip()
    if isinstance(exc, OutOfMemoryError):
        return "out_of_memory", "the machine ran out of memory and Ray ended the worker", text
    if isinstance(exc, RayActorError):
        return "worker_lost", "the worker process or its node was lost", text
    last = text.splitlines()[-1] if text else "unknown error"
    kind = "out_of_memory" if "OutOfMemoryError" in text or "CUDA out of memory" in text else "error"
    return kind, last, text
