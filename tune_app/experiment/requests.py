"""Requests to a running driver.

They stop a trial or the sweep, or they end, pause or resume the starting of new trials.
"""

import re
from typing import Literal

from tune_app.errors import InputError
from tune_app.experiment.folder import Experiment
from tune_app.experiment.lock import is_running

SweepRequest = Literal["all", "rest", "hold", "release"]
"""`all` ends the sweep, `rest` ends the starting of new trials, `hold` pauses it and `release` resumes it."""


def request(experiment: Experiment, what: SweepRequest | str) -> None:
    """Leave a request for the driver: a SweepRequest, or the id of a trial to stop."""
    experiment.requests.mkdir(exist_ok=True)
    (experiment.requests / what).touch()


def take_requests(experiment: Experiment) -> list[str]:
    """Return and remove the requests made since the last call."""
    names = [path.name for path in experiment.requests.glob("*")]
    for name in names:
        (experiment.requests / name).unlink(missing_ok=True)
    return names


def request_stop(experiment: Experiment, trial: str | None = None) -> str | None:
    """Ask the driver to stop `trial`, or the whole sweep, at the next report. Return the trial's id.

    Raise InputError if the trial does not exist or has ended, or if no driver runs.
    """
    if trial is not None and re.fullmatch("0|[1-9][0-9]*", trial):
        trial = f"{int(trial):04d}"
    record = None if trial is None else experiment.read_records().trials.get(trial)
    if trial is not None and record is None:
        raise InputError(f"{experiment.folder}: there is no trial {trial!r}", hint="`tune_app status` lists them")
    if record is not None and record.ended:
        raise InputError(f"trial {record.id} has already ended ({record.state}, {record.reason})")
    if not is_running(experiment.folder):
        raise InputError(f"{experiment.folder}: no driver runs this experiment, so there is nothing to stop")
    request(experiment, record.id if record else "all")
    return record.id if record else None
