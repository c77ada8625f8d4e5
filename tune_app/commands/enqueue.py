"""Add a point to a sweep by hand."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

from pydantic import JsonValue

from search_spaces.distributions import Scalar
from tune_app.config.point import parse_point
from tune_app.errors import InputError
from tune_app.experiment.events import Asked
from tune_app.experiment.folder import Experiment
from tune_app.experiment.lock import is_running
from tune_app.experiment.log import Tail
from tune_app.experiment.queue import add_point

WAIT_SECONDS = 3.0
"""Time to wait for a free slot, so that the answer can name the trial."""
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Enqueued:
    """A point that was added to a sweep."""

    experiment: str
    params: dict[str, Scalar]
    """The given values. The sampler chooses the others."""
    request: str
    """Name of the request, which the log repeats."""
    running: bool
    """True if a driver runs the sweep."""
    trial: str | None
    """The trial that runs the point, None if it has not started yet."""

    def as_json(self) -> dict[str, JsonValue]:
        """Return the JSON object."""
        return asdict(self)


def enqueue(
    experiment: Experiment,
    sets: Mapping[str, str],
    *,
    seconds: float = WAIT_SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> Enqueued:
    """Add the point to the sweep and wait some `seconds` for its trial. Raise ConfigError if the space refuses it."""
    config = experiment.config()
    if config.retraining:
        raise InputError(f"{experiment.folder} trains settings of {config.retraining.experiment} and takes no other")
    params = parse_point(config, sets)
    tail = Tail(experiment.events)
    point, until, trial = add_point(experiment, params), clock() + seconds, None
    while (running := is_running(experiment.folder)) and trial is None and clock() < until:
        time.sleep(POLL_SECONDS)
        new = (event for event in tail.new() if isinstance(event, Asked))
        trial = next((event.trial for event in new if event.request == point.request), None)
    return Enqueued(str(experiment.folder), params, point.request, running, trial)


def enqueued_lines(added: Enqueued, shown: str) -> list[str]:
    """Return what happens to the point. `shown` is the experiment as a person would type it."""
    if added.trial:
        return [f"trial {added.trial} runs this point"]
    if added.running:
        return ["stored: the point starts as the next trial, as soon as a slot is free"]
    return ["stored: no driver runs this experiment", f"run the point with: python -m tune_app resume {shown}"]
