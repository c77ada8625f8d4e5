"""Experiments side by side: the distance of their winners, what was spent, and what does not compare."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.events import asked, at, changed, ended, reported, started
from tune_app.answer.side_by_side import side_by_side, side_by_side_lines
from tune_app.config.load import dump, load
from tune_app.errors import InputError
from tune_app.experiment.events import Event
from tune_app.experiment.folder import Experiment

DATA = {"data": "d", "features": {"randconv": "r"}}


def trial(name: str, kid: float, fresh: float | None = None) -> list[Event]:
    events = [asked(name, lr=1e-3), reported(name, 14.0, kid=2 * kid), reported(name, 28.0, "stop", kid=kid),
              ended(name, kimg=28.0)]  # fmt: skip
    if fresh is not None:
        draws = [{"kid": fresh, "kid_stderr": 0.1}] * 2
        groups = [fresh - 0.1, fresh + 0.1]  # the same images are easy or hard for every trial
        events.append(at(0, "rechecked", trial=name, kimg=28.0, seconds=1, sampling={}, draws=draws, same=draws,
                         pictures={}, features="f",
                         errors={"kid": {"samples": 0.03, "without_group": groups}}))  # fmt: skip
    return events


def experiment(folder: Path, name: str, *events: Event, metric: str = "kid") -> Experiment:
    made = Experiment(folder / name)
    made.folder.mkdir()
    made.sweep_yaml.write_text(dump(load("ncsn_space.yaml", profile="laptop", set={"metric.name": metric})))
    made.events.write_text("".join(json.dumps(event.as_json()) + "\n" for event in events))
    return made


def test_the_winners_are_compared_with_the_error_of_their_distance(tmp_path: Path) -> None:
    first = experiment(tmp_path, "monday", started(**DATA), *trial("0000", 0.9, 1.0), *trial("0001", 0.5, 0.6))
    second = experiment(tmp_path, "tuesday", started(**DATA), *trial("0000", 0.7, 0.8))
    one, two = side_by_side([first, second])
    assert (one.trial, one.value, one.worse_by) == ("0001", 0.6, 0.0)
    assert (two.worse_by, two.worse_by_stderr) == (pytest.approx(0.2), pytest.approx(0.03 * 2**0.5))
    assert one.best_so_far == [(28.0, 0.9), (56.0, 0.5)]
    lines = side_by_side_lines([one, two])
    assert lines[0].startswith("monday: kid 0.6 ± ")
    assert "  0.2 ± 0.042 worse than monday" in lines
    assert "  best so far, by the sweep's own values: 0.9 after 28, 0.5 after 56 kimg" in lines
    assert "  1 trials in" not in lines[0]


def test_without_a_re_evaluation_no_distance_is_stated(tmp_path: Path) -> None:
    first = experiment(tmp_path, "monday", started(**DATA), *trial("0000", 0.9))
    second = experiment(tmp_path, "tuesday", started(**DATA))
    one, two = side_by_side([first, second])
    assert (one.value, one.worse_by, two.value, two.worse_by) == (0.9, None, None, None)
    assert "tuesday: no trial has reached a rung" in side_by_side_lines([one, two])


@pytest.mark.parametrize(
    ("other", "metric", "words"),
    [
        ({**DATA, "data": "e"}, "kid", "other images"),
        ({**DATA, "features": {"cnn": "r"}}, "kid", "other features"),
        (DATA, "bpd", "another metric"),
    ],
)
def test_what_does_not_compare_is_refused(other: dict[str, object], metric: str, words: str, tmp_path: Path) -> None:
    first = experiment(tmp_path, "monday", started(**DATA), *trial("0000", 0.9))
    second = experiment(tmp_path, "tuesday", changed(started(), **other), metric=metric)
    with pytest.raises(InputError, match=words):
        side_by_side([first, second])
