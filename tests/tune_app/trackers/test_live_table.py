"""The live table on a terminal."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from rich.console import Console

from tests.events import asked, at, changed, ended, reported
from tune_app.config.load import load
from tune_app.experiment.events import Event
from tune_app.experiment.folder import Experiment
from tune_app.experiment.records import Records
from tune_app.trackers.live_table import LiveTable

Draw = Callable[..., "Drawn"]
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Drawn:
    """The last table drawn: its text, and the row of each trial with its escape codes."""

    def __init__(self, output: str, trials: Iterable[str]) -> None:
        self.output = output
        self.text = " ".join(ESCAPES.sub("", output).split())
        lines = output.splitlines()
        self.rows = {
            trial: line for line in lines for trial in trials if re.match(rf" *{trial} ", ESCAPES.sub("", line))
        }


@pytest.fixture
def draw(tmp_path: Path) -> Draw:
    """Return a function that applies events to a live table and returns what it draws."""

    def draw(*events: Event, width: int = 100, height: int = 40, space: str = "branin_space.yaml") -> Drawn:
        output = io.StringIO()
        console = Console(file=output, force_terminal=True, width=width, height=height, color_system="standard")
        table, records = LiveTable(console), Records()
        table.begin(load(space, set={"search.trials": 9}), Experiment(tmp_path), records, slots=2)
        for event in events:
            records.apply(event)
            table.event(event)
        table.end()
        before = len(output.getvalue())
        console.print(table.table())
        return Drawn(output.getvalue()[before:], records.trials)

    return draw


FAILED = at(0, "failed", trial="0002", kind="error", message="ValueError: no", retry=False)


def test_a_row_shows_the_state_progress_and_value_of_a_trial(draw: Draw) -> None:
    drawn = draw(
        asked("0000", x1=1.5, x2=2.0), reported("0000", 3.0, value=7.25), reported("0000", 4.0, rung=False),
        asked("0001", x1=2.5, x2=3.0), reported("0001", 3.0, "stop", value=9.5), ended("0001", "stopped", "asha"),
        asked("0002", x1=3.5, x2=4.0), FAILED, ended("0002", "failed", "error"),
        asked("0003", x1=4.5, x2=5.0), changed(reported("0003", 27.0, "stop", value=0.5)), ended("0003", kimg=27.0),
    )  # fmt: skip
    for trial, words in {
        "0000": ("running", " 4 ", "7.25", "1.5"),
        "0001": ("stopped", " 3 ", "9.5"),
        "0002": ("failed: error", " 0 "),
        "0003": ("completed", " 27 ", "0.5"),
    }.items():
        row = ESCAPES.sub("", drawn.rows[trial])
        assert all(word in row for word in words), row
    assert "branin: 4 of 9 trials asked; 1 running, 1 completed, 1 stopped, 1 failed" in drawn.text


def test_the_best_trial_is_bold_green_a_failed_one_red_a_stopped_one_dim(draw: Draw) -> None:
    rows = draw(
        asked("0000"), reported("0000", 27.0, "stop", value=7.0), ended("0000"),
        asked("0001"), reported("0001", 27.0, "stop", value=2.0), ended("0001"),
        asked("0002"), FAILED, ended("0002", "failed", "error"),
        asked("0003"), reported("0003", 3.0, "stop", value=1.0), ended("0003", "stopped", "asha"),
    ).rows  # fmt: skip
    assert "\x1b[1;32m" in rows["0001"], "the lowest value at the last rung is the best"
    assert "\x1b[1;32m" not in rows["0000"] + rows["0002"] + rows["0003"]
    assert "\x1b[31m" in rows["0002"]
    assert "\x1b[2m" in rows["0003"]
    assert [*rows] == ["0001", "0000", "0003", "0002"]


def test_running_trials_stay_visible_when_there_are_more_trials_than_rows(draw: Draw) -> None:
    trials = ("0000", "0001", "0002")
    events = [event for trial in trials for event in (asked(trial), reported(trial, 27.0, value=1.0 + int(trial)))]
    drawn = draw(*events, ended("0000"), ended("0001"), height=8)
    assert [*drawn.rows] == ["0002", "0000"]
    assert "1 more not shown" in drawn.text


NCSN = {"sigma_begin": 31.41592, "sigma_end": 0.0123456, "num_scales": 232, "lr": 0.000123456}


@pytest.mark.parametrize(
    ("width", "height", "parameters", "rows"),
    [(60, 20, "+5 more", 9), (80, 24, "+3 more", 9), (104, 12, "num_scales", 6), (200, 50, "step_size", 9)],
)
def test_the_table_fits_every_terminal(width: int, height: int, parameters: str, rows: int, draw: Draw) -> None:
    trials = [f"{number:04d}" for number in range(9)]
    events = [one for trial in trials for one in (asked(trial, **NCSN), reported(trial, 740.741, kid=0.0123456))]
    drawn = draw(*events, width=width, height=height, space="ncsn_space.yaml")
    lines = [ESCAPES.sub("", line).rstrip() for line in drawn.output.splitlines()]
    assert max(map(len, lines)) <= width
    assert len(lines) < height
    assert len(drawn.rows) == rows
    assert not any(character in drawn.output for character in "│┃")
    assert "elapsed" in drawn.text
    assert parameters in drawn.text
    assert ("31.4" in drawn.text, "31.41" in drawn.text) == (True, False)
    assert "ncsn: 9 of 9 trials asked" in drawn.text


def test_a_workers_words_do_not_steer_the_terminal(draw: Draw) -> None:
    output = io.StringIO()
    LiveTable(Console(file=output, force_terminal=True)).note("a \x1b[2J\x1b]0;title\x07 b")
    assert "\\x1b[2J\\x1b]0;title\\x07" in ESCAPES.sub("", output.getvalue())


def test_the_caption_names_the_rungs_their_trust_and_the_time_left(draw: Draw) -> None:
    report = reported("0000", 3.0, value=1.0)
    text = draw(asked("0000"), changed(report, trusted=False)).text
    assert "rungs (kimg): 3 not yet trusted, 9, 27" in text
    assert "about 1:28 left at most" in text  # 2 s / 3 kimg * (24 + 8 * 27) kimg / 2 slots
    assert "rungs (kimg): 3 trusted" in draw(asked("0000"), changed(report, trusted=True)).text


def test_before_the_table_a_line_says_what_is_awaited_and_each_replaces_the_last(tmp_path: Path) -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=80, height=24, color_system="standard")
    table = LiveTable(console)
    table.note("starting Ray")
    table.progress("drawing shapes: 500 of 12,000")
    table.progress("drawing shapes: 1,000 of 12,000")
    time.sleep(0.3)  # the spinner draws by itself
    table.begin(load("branin_space.yaml"), Experiment(tmp_path), Records(), slots=2)
    table.end()
    text = ESCAPES.sub("", output.getvalue())
    assert "starting Ray\n" in text
    assert "drawing shapes: 1,000 of 12,000" in text
    assert "drawing shapes" not in text[text.index("trials asked") :]
