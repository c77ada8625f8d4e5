"""A Tune trial under our id, that sorts its failures by kind and retries them within the sweep's limit."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from ray import tune
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError
from ray.tune.experiment import Trial

from trainables.checkpoint import UnwritableError
from trainables.ray_worker import RayTrial
from tune_app.config.schema import ResourcesConfig
from tune_app.errors import StorageError

ANSI = re.compile(r"\x1b\[[0-9;]*m")
GPU_MEMORY = re.compile(r"OutOfMemoryError|CUDA out of memory")
MOST_CHARACTERS = 300


class Failure(NamedTuple):
    """What ended a worker's call: its kind as the log names it, one line, the traceback."""

    kind: str
    message: str
    traceback: str
    gpu_memory: bool = False
    disk: StorageError | None = None
    """The sentence, where a disk is to blame and not the trial."""


class TrackedTrial(Trial):
    """Tune's Trial, named by the sweep; `failure` is the last one.

    It is retried `retries` times in all; out of GPU memory it is retried with twice the share until it has a whole GPU,
    and a lost worker costs no retry if the trial has got `further` since its last failure: nodes may come and go.
    """

    def __init__(
        self,
        name: str,
        *,
        resources: ResourcesConfig,
        gpu: float,
        retries: int,
        further: bool,
        config: dict[str, Any],
        storage: Any,
    ) -> None:
        self._cpu, self.gpu, self._retries = resources.cpu, gpu, retries
        self.failure: Failure | None = None
        self.further = further
        self.grown = False
        """Whether the last failure was answered with a larger share of a GPU."""
        super().__init__(
            RayTrial.__name__,
            config=config,
            trial_id=name,
            storage=storage,
            placement_group_factory=self._request(),
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            max_failures=retries,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
            stub=True,
        )

    def get_trainable_cls(self) -> type[RayTrial]:
        return RayTrial  # without Tune's registry, whose look-ups cost 5 ms a trial

    def handle_error(self, exc: Any = None) -> None:
        self.failure = sorted_failure(exc)
        self.grown = self.failure.gpu_memory and 0 < self.gpu < 1
        self._retries -= not (self.grown or (self.failure.kind == "worker_lost" and self.further))
        self.further = False
        super().handle_error(exc)

    def should_recover(self) -> bool:
        return self._retries >= 0

    def grow(self) -> None:
        """Ask for twice the share of a GPU from the next start on."""
        self.gpu = min(1.0, 2 * self.gpu)
        self.update_resources(self._request())

    def _request(self) -> tune.PlacementGroupFactory:
        return tune.PlacementGroupFactory([{"CPU": self._cpu, "GPU": self.gpu} if self.gpu else {"CPU": self._cpu}])


def sorted_failure(exc: BaseException | None) -> Failure:
    """The kind of an exception that came from a worker; raises nothing."""
    text = ANSI.sub("", str(exc)).strip()
    if isinstance(exc, OutOfMemoryError):
        return Failure("out_of_memory", "the machine ran out of memory and Ray ended the worker", text)
    if isinstance(exc, RayActorError):
        return Failure("worker_lost", "the worker process or its node was lost", text)
    cause = exc.cause if isinstance(exc, RayTaskError) else exc
    message = " ".join(f"{type(cause).__name__}: {cause}".split())[:MOST_CHARACTERS]
    if GPU_MEMORY.search(message):
        return Failure("out_of_memory", message, text, gpu_memory=True)
    if isinstance(cause, UnwritableError):
        return Failure("error", message, text, disk=StorageError.of(cause, "a worker's disk"))
    return Failure("error", message, text)
