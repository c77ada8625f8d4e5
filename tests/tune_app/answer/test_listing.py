"""The list of experiments."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import Cli
from tests.events import asked, at, ended, reported, started
from tune_app.answer.listing import experiment_row, listing_lines
from tune_app.config import load
from tune_app.experiment.out_folder import experiments

CONFIG = load("branin_space.yaml").model_dump(mode="json", exclude={"profiles"})


def experiment(out: Path, name: str, when: float = 0) -> None:
    events = [
        started(when, config=CONFIG),
        asked("0000", x1=0.0),
        reported("0000", 27, value=0.5),
        ended("0000", kimg=27),
        asked("0001", x1=1.0),
        at(1, "sweep_ended", state="completed", reason="all trials ended", hours=0.1),
    ]
    (out / name).mkdir(parents=True)
    (out / name / "events.jsonl").write_text("".join(json.dumps(event.as_json()) + "\n" for event in events))


def test_experiments_are_listed_newest_first_and_a_damaged_one_is_a_line(cli: Cli, folder: Path) -> None:
    out = folder / "experiments"
    experiment(out, "old", 0)
    experiment(out, "new", 100)
    (out / "foreign").mkdir()
    (out / "damaged").mkdir()
    (out / "damaged" / "events.jsonl").write_text("no JSON\n{}\n")
    (out / "empty").mkdir()
    (out / "empty" / "events.jsonl").touch()
    done = cli("list")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert sorted(line.split()[0] for line in lines) == ["damaged", "empty", "new", "old"]
    assert [line.split()[0] for line in lines if "completed" in line] == ["new", "old"]
    new = next(line for line in lines if line.startswith("new"))
    assert "1/40 trials" in new
    assert "value 0.5 at 27 kimg" in new
    assert "began 2026-01-01 00:01 UTC" in new
    assert "damaged  cannot be read: " in done.stdout
    rows = {row["name"]: row for row in json.loads(cli("list", "--json").stdout)}
    assert (rows["new"]["state"], rows["new"]["best"], rows["new"]["kimg"]) == ("completed", 0.5, 27)
    assert rows["damaged"]["state"] == "unreadable"
    assert rows["damaged"]["problem"]


def test_a_folder_without_experiments_is_an_empty_list(cli: Cli) -> None:
    assert json.loads(cli("list", "--json").stdout) == []
    assert cli("list").stdout == "experiments: there is no experiment yet\n"


def test_a_row_of_an_experiment_says_what_it_reached(tmp_path: Path) -> None:
    experiment(tmp_path, "one")
    [found] = experiments(tmp_path)
    row = experiment_row(found)
    assert (row.trials_ended, row.trials_planned, row.metric) == (1, 40, "value")
    assert len(listing_lines([row])) == 1
