"""An experiment brought into W&B: once, from its log, or all along beside a driver that runs it."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tune_app.errors import TuneAppError
from tune_app.experiment.folder import Experiment
from tune_app.experiment.log import Tail, read
from tune_app.trackers.wandb import Mirror

LOOK_SECONDS, POLL_SECONDS = 0.5, 10.0


def sync(experiment: Experiment) -> None:
    """Send to W&B what is missing there; sent twice, nothing is doubled. Raises TuneAppError if not all arrives."""
    with experiment.locked(".wandb.lock"), _own_words() as say:
        mirror = Mirror(experiment, experiment.config(), say)
        for event in read(experiment.events):
            mirror.apply(event)
        if not mirror.close():
            raise TuneAppError("not all has arrived at W&B", hint="try again when it is back; nothing is sent twice")


def follow(experiment: Experiment) -> bool:
    """Send the log as it grows, until standard input ends, as it does when the driver leaves; whether all arrived."""
    with experiment.locked(".wandb.lock", patiently=True), _own_words() as say:
        mirror, tail = Mirror(experiment, experiment.config(), say), Tail(experiment.events)
        for event in tail.new():
            mirror.apply(event)
        mirror.forget_delivered()
        polled = time.monotonic()
        while not select.select([sys.stdin], [], [], LOOK_SECONDS)[0]:
            for event in tail.new():
                mirror.apply(event)
            mirror.send()
            if time.monotonic() - polled > POLL_SECONDS:
                polled = time.monotonic()
                if wish := mirror.poll():
                    experiment.ask(wish)
        for event in tail.new():
            mirror.apply(event)
        return mirror.close()


@contextmanager
def _own_words() -> Iterator[Callable[[str], None]]:
    """Within it, standard output holds what the given function says, and nothing that wandb prints."""
    sys.stdout.flush()
    with os.fdopen(os.dup(1), "w") as words, Path(os.devnull).open("w") as nothing:
        before = os.dup(1)
        os.dup2(nothing.fileno(), 1)
        try:
            yield lambda line: print(line, file=words, flush=True)
        finally:
            os.dup2(before, 1)
            os.close(before)
