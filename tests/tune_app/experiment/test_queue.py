"""Points that a person adds: they are taken once, the oldest first, whatever ends the driver."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.events import asked as asked_event
from tests.events import changed
from tune_app.experiment.folder import Experiment
from tune_app.experiment.out_folder import create
from tune_app.experiment.queue import Point, add_point, refuse_point, remove_point, waiting_points
from tune_app.experiment.records import Records


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return create(tmp_path, "night")


def taken(number: int, point: Point) -> Records:
    return Records([changed(asked_event(f"{number:04d}", "person", **point.params), request=point.request)])


def test_points_wait_in_the_order_in_which_they_were_added(experiment: Experiment) -> None:
    assert waiting_points(experiment, Records()) == []
    points = [add_point(experiment, {"x1": float(n), "arch": "unet"}) for n in range(3)]
    assert waiting_points(experiment, Records()) == points
    remove_point(experiment, points[0])
    refuse_point(experiment, points[1])
    assert waiting_points(experiment, Records()) == [points[2]]


def test_a_point_that_the_log_holds_does_not_wait_even_if_its_file_is_left(experiment: Experiment) -> None:
    point, other = add_point(experiment, {"x1": 1.0}), add_point(experiment, {"x1": 1.0})
    assert waiting_points(experiment, taken(0, point)) == [other]


@pytest.mark.parametrize("content", ["", "[]", '{"x1": null}', '{"x1": NaN}', "{"])
def test_a_file_that_holds_no_point_is_ignored(content: str, experiment: Experiment) -> None:
    experiment.queue.mkdir()
    (experiment.queue / "0.json").write_text(content)
    assert waiting_points(experiment, Records()) == []


def test_records_count_the_trials_that_a_person_added(experiment: Experiment) -> None:
    records = taken(0, add_point(experiment, {"x1": 1.0}))
    records.apply(asked_event("0001"))
    assert (records.added, len(records.searched)) == (1, 2)
