"""Send an experiment to W&B: once from its log, or continuously beside the driver that runs it."""

import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tune_app.errors import TuneAppError
from tune_app.experiment.folder import Experiment
from tune_app.experiment.lock import WANDB_LOCK, resume_lock
from tune_app.experiment.log import Tail, read
from tune_app.experiment.requests import request
from tune_app.trackers.wandb import WandbMirror
from tune_app.trackers.wandb_key import check_key, wandb_account

READ_SECONDS, POLL_SECONDS = 0.5, 10.0


def sync(experiment: Experiment, *, new: bool = False, to_stderr: bool = False) -> dict[str, str | int]:
    """Send to W&B what it lacks, or with `new` everything into a new Sweep.

    Return the Sweep's address and the number of trials that were sent. Messages go to stdout, or `to_stderr`. Raise
    InputError without a key, and TuneAppError if something could not be sent.
    """
    check_key(wandb_account())
    with resume_lock(experiment.folder, WANDB_LOCK), _stdout_for_us(2 if to_stderr else 1) as say:
        mirror = WandbMirror(experiment, experiment.config(), say)
        for event in read(experiment.events):
            mirror.apply(event)
        if new:
            mirror.renew()
        mirror.skip_delivered()
        waiting = mirror.waiting
        if not mirror.reach() or not mirror.close():
            raise TuneAppError("W&B did not receive everything", hint="try again later; nothing is sent twice")
    return {"experiment": str(experiment.folder), "sweep": mirror.url, "trials_sent": waiting}


def follow(experiment: Experiment) -> bool:
    """Send the log as it grows, until standard input closes because the driver ends.

    Return True if everything was sent.
    """
    with resume_lock(experiment.folder, WANDB_LOCK, wait=True), _stdout_for_us() as say:
        mirror, tail = WandbMirror(experiment, experiment.config(), say, live=True), Tail(experiment.events)
        _apply_new(mirror, tail)
        mirror.skip_delivered()
        polled = time.monotonic()
        while not select.select([sys.stdin], [], [], READ_SECONDS)[0]:
            _apply_new(mirror, tail)
            mirror.send()
            if time.monotonic() - polled > POLL_SECONDS:
                polled = time.monotonic()
                if pressed := mirror.poll():
                    request(experiment, pressed)
        _apply_new(mirror, tail)
        return mirror.close()


def _apply_new(mirror: WandbMirror, tail: Tail) -> None:
    for event in tail.new():
        mirror.apply(event)


@contextmanager
def _stdout_for_us(stream: int = 1) -> Iterator[Callable[[str], None]]:
    """Yield a function that prints a line on `stream` (1: stdout), and discard what wandb prints on stdout."""
    sys.stdout.flush()
    with os.fdopen(os.dup(stream), "w") as ours, Path(os.devnull).open("w") as nothing:
        before = os.dup(1)
        os.dup2(nothing.fileno(), 1)
        try:
            yield lambda line: print(line, file=ours, flush=True)
        finally:
            os.dup2(before, 1)
            os.close(before)
