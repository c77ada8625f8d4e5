"""A trial as Ray Tune sees it: it has the sweep's id, classifies its failures and counts its retries."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from ray import tune
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError, WorkerCrashedError
from ray.train._internal.storage import StorageContext
from ray.tune.experiment import Trial

from trainables.checkpoint import UnwritableError
from trainables.contract import PluginError
from trainables.ray_worker import RayWorker
from tune_app.driver.out_of_memory import EndedForMemoryError
from tune_app.errors import StorageError, first_line
from tune_app.experiment.event_fields import FailureKind

ANSI = re.compile(r"\x1b\[[0-9;]*m")
GPU_MEMORY = re.compile(r"OutOfMemoryError|CUDA out of memory")
MOST_CHARACTERS = 300


class Failure(NamedTuple):
    """Reason for which a worker's call failed."""

    kind: FailureKind
    message: str
    """The error in one line."""
    traceback: str
    gpu_memory: bool = False
    disk: StorageError | None = None
    """Set if a disk failed, not the trial."""


class Allowance(NamedTuple):
    """Resources and retries that a trial may use."""

    cpu: float
    gpu: float
    retries: int = 0
    """Number of times that the trial may be started again."""
    progressed: bool = False
    """True if the trial has written a checkpoint since its last failure. Then a lost worker uses up no retry."""


class TuneTrial(Trial):
    """Tune's Trial under the sweep's id.

    A trial that runs out of GPU memory starts again with twice the share until it has a whole GPU. That uses up no
    retry. Neither does a lost worker if the trial has `progressed`, because nodes may come and go.
    """

    def __init__(
        self, name: str, worker_config: Mapping[str, object], tune_storage: StorageContext, allowance: Allowance
    ) -> None:
        self._cpu, self.gpu, self._retries, self.progressed = allowance
        self.failure: Failure | None = None
        """The last failure."""
        self.grown = False
        """True if the trial gets a larger share of a GPU after the last failure."""
        self.lost_because = ""
        """Reason for which we ended the worker, empty if we did not."""
        super().__init__(
            RayWorker.__name__,
            config=worker_config,
            trial_id=name,
            storage=tune_storage,
            placement_group_factory=self._resources(),
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            max_failures=allowance.retries,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
            stub=True,
        )

    def get_trainable_cls(self) -> type[RayWorker]:
        """Return the worker class without Tune's registry, whose look-ups cost 5 ms per trial."""
        return RayWorker

    def handle_error(self, exc: BaseException | None = None) -> None:
        """Classify the failure and count it."""
        self.failure = classify(exc)
        if self.failure.kind == "worker_lost" and self.lost_because:
            self.failure, self.lost_because = self.failure._replace(message=self.lost_because), ""
        spec = self.config.get("spec")  # a warm-up has none
        if self.failure.kind in ("worker_lost", "out_of_memory") and spec and spec.plugins:
            names = ", ".join(plugin.name for plugin in spec.plugins)
            self.failure = self.failure._replace(message=f"{self.failure.message} (its model is defined in {names})")
        self.grown = self.failure.gpu_memory and 0 < self.gpu < 1
        self._retries -= not (self.grown or (self.failure.kind == "worker_lost" and self.progressed))
        self.progressed = False
        super().handle_error(exc)

    def should_recover(self) -> bool:
        """Return True if Tune may start the trial again."""
        return self._retries >= 0

    def grow(self) -> None:
        """Take twice the share of a GPU from the next start on."""
        self.gpu = min(1.0, 2 * self.gpu)
        self.update_resources(self._resources())

    def _resources(self) -> tune.PlacementGroupFactory:
        return tune.PlacementGroupFactory([{"CPU": self._cpu, "GPU": self.gpu} if self.gpu else {"CPU": self._cpu}])


def classify(error: BaseException | None) -> Failure:
    """Return the kind of an exception that came from a worker."""
    if isinstance(error, EndedForMemoryError | OutOfMemoryError):
        message = "the machine ran out of memory and Ray ended the worker"
        return Failure("out_of_memory", message, first_line(error))
    text = ANSI.sub("", str(error)).strip()
    if isinstance(error, RayActorError | WorkerCrashedError):
        return Failure("worker_lost", "the worker process or its node was lost", text)
    cause = error.cause if isinstance(error, RayTaskError) else error
    words = str(cause) if isinstance(cause, PluginError) else f"{type(cause).__name__}: {cause}"
    message = " ".join(words.split())[:MOST_CHARACTERS]
    if GPU_MEMORY.search(message):
        return Failure("out_of_memory", message, text, gpu_memory=True)
    if isinstance(cause, UnwritableError):
        return Failure("error", message, text, disk=StorageError.of(cause, "a worker's disk"))
    return Failure("error", message, text)
