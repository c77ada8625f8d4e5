"""Points that a person adds to a sweep: one file each, until the driver has asked them as trials.

The log names the request of each trial that a person added. A driver that is killed between writing the log and
removing the file therefore runs no point twice.
"""

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from secrets import token_hex

from pydantic import TypeAdapter, ValidationError

from search_spaces.distributions import Scalar
from trainables.files import write_json
from tune_app.errors import StorageError
from tune_app.experiment.event_fields import Params
from tune_app.experiment.folder import Experiment
from tune_app.experiment.records import Records

_PARAMS: TypeAdapter[dict[str, Scalar]] = TypeAdapter(Params)


@dataclass(frozen=True)
class Point:
    """Values of some searched parameters. `request` is the name of the file, which the log repeats."""

    request: str
    params: Mapping[str, Scalar]


def add_point(experiment: Experiment, params: Mapping[str, Scalar]) -> Point:
    """Store a point for the driver, or for the next resume. Raise StorageError if it cannot be written."""
    point = Point(f"{time.time_ns():020d}-{token_hex(4)}", params)
    try:
        experiment.queue.mkdir(exist_ok=True)
        write_json(experiment.queue / f"{point.request}.json", dict(params))
    except OSError as error:
        raise StorageError.of(error, experiment.queue) from error
    return point


def waiting_points(experiment: Experiment, records: Records) -> list[Point]:
    """Return the points that no trial has taken yet, the oldest first. Ignore files that do not hold a point."""
    points = []
    for path in sorted(experiment.queue.glob("*.json")):
        if path.stem not in records.requests:
            with suppress(OSError, ValueError, ValidationError):
                points.append(Point(path.stem, _PARAMS.validate_python(json.loads(path.read_bytes()))))
    return points


def remove_point(experiment: Experiment, point: Point) -> None:
    """Remove the file of a point."""
    (experiment.queue / f"{point.request}.json").unlink(missing_ok=True)


def refuse_point(experiment: Experiment, point: Point) -> None:
    """Set aside the file of a point that the space does not allow. Only a file edited by hand holds one."""
    path = experiment.queue / f"{point.request}.json"
    path.replace(path.with_suffix(".refused"))
