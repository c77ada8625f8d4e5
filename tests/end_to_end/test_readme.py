"""Every command of the README runs, long ones with small settings."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

import tune_app
from tests.conftest import Cli
from tune_app.commands.init import write_model

README = (Path(__file__).parents[2] / "README.md").read_text()
COMMANDS = [
    shlex.split(match.partition("  #")[0].partition(" # ")[0])
    for match in re.findall(r"^ {4}(?:\.venv/bin/)?python -m tune_app (.+)$", README, re.MULTILINE)
]
TINY = ["--profile", "laptop", "--trials", "1", "--wandb", "disabled"]
"""Options that make a sweep of the README small."""


def of(name: str) -> list[list[str]]:
    return [command for command in COMMANDS if command[0] == name]


def test_the_readme_shows_the_commands_that_a_newcomer_needs() -> None:
    assert {command[0] for command in COMMANDS} >= {
        "run",
        "plan",
        "validate",
        "resume",
        "status",
        "best",
        "sync",
        "stop",
    }


@pytest.mark.parametrize(
    "command", [c for c in COMMANDS if c[0] in ("run", "plan") and "--measure" not in c], ids=" ".join
)
def test_a_sweep_of_the_readme_can_be_planned(cli: Cli, folder: Path, command: list[str]) -> None:
    (folder / "PHOTOS").mkdir()
    for number in range(9):
        Image.new("RGB", (32, 32)).save(folder / "PHOTOS" / f"{number}.jpg")
    write_model("mine", folder)  # as the line above it in the README does
    words = [word for word in command[1:] if word not in ("--resume", "night")]
    done = cli("plan", *words, *(TINY[2:] if "mine.yaml" in words else TINY))  # it has no profiles
    assert done.returncode == 0, done.stderr
    assert "plan: 1 trials" in done.stdout


@pytest.mark.parametrize("command", [*of("validate"), *of("score")], ids=" ".join)
def test_a_command_on_a_file_that_is_not_there_says_so(cli: Cli, command: list[str]) -> None:
    done = cli(*command)
    assert done.returncode == 2
    assert command[1] in done.stderr


@pytest.mark.ray
def test_the_commands_on_the_latest_experiment_work_one_after_the_other(cli: Cli) -> None:
    assert cli("run", "branin_space.yaml", "--trials", "2", "--wandb", "disabled").returncode == 0
    for command in [*of("status"), *of("best"), *of("resume")]:
        done = cli(*command)
        assert done.returncode == 0, done.stderr
    (stop,) = of("stop")
    assert "there is no trial '0007'" in cli(*stop).stderr


def test_the_python_example_loads_what_it_says() -> None:
    (line,) = re.findall(r"^ {4}config = (tune_app\.load\(.*\))$", README, re.MULTILINE)
    config = eval(line, {"tune_app": tune_app})
    assert (config.search.trials, config.data.name) == (20, "shapes")
