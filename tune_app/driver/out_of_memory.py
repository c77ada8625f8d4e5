"""Workers that Ray ends because their machine runs out of memory."""

from __future__ import annotations

from ray.air.execution._internal import RayActorManager
from ray.exceptions import OutOfMemoryError, RayActorError

from tune_app.errors import first_line


class EndedForMemoryError(RayActorError):
    """Ray has ended the worker because the machine ran out of memory."""


def hand_over_ended_workers() -> None:
    """Let Tune fail the trial of a worker that was ended for lack of memory. Tune 2.60 would end the whole sweep."""
    failed = RayActorManager._actor_task_failed
    if failed.__module__ == __name__:  # an earlier sweep of this process has done so
        return

    def hand_over(self: RayActorManager, tracked_actor_task: object, exception: Exception) -> None:
        if isinstance(exception, OutOfMemoryError):  # its other lines show the command lines of all processes
            exception = EndedForMemoryError(error_msg=first_line(exception))
        failed(self, tracked_actor_task, exception)

    RayActorManager._actor_task_failed = hand_over
