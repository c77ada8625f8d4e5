"""The tour of the README, command by command, with small settings: one process, one Ray."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.test_retrain import TINY

pytestmark = pytest.mark.ray
ROOT = Path(__file__).parents[2]
SMALL = {
    "run": ["--profile", "laptop", "--trials", "2", "--wandb", "disabled",
            *(word for setting in [*TINY, "recheck.trials=0"] for word in ("--set", setting))],
    "retrain": ["--seeds", "1"],
}  # fmt: skip
"""Options that make a command of the tour small. The last one of a kind counts."""
PROCESS = """
import json, sys
import ray
from tune_app.cli import cli

ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
for kind, *words in json.loads(sys.argv[1]):
    print("$", kind, *words, flush=True)
    if kind == "-c":
        exec(*words)
        continue
    try:
        cli.main(words, standalone_mode=False)
    except SystemExit as end:
        if end.code:
            raise
"""


def tour() -> list[list[str]]:
    """Return the commands of the tour as the words after `python`. `make run` is what the Makefile runs."""
    section = (ROOT / "README.md").read_text().partition("## A tour")[2].partition("\n## ")[0]
    (made,) = re.findall(r"^run:.*\n\t\$\(BIN\)/(python .*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    lines = [line.strip() for line in re.findall(r"^ {4}(.+)$", section, re.MULTILINE)]
    words = [shlex.split(made if line.startswith("make run") else line, comments=True) for line in lines]
    return [command[1:] for command in words if command[0] == "python"]


def small(command: list[str]) -> list[str]:
    return command if command[0] == "-c" else ["-m", *command[2:], *SMALL.get(command[2], [])]


def test_the_tour_leads_from_a_sweep_to_a_model_in_python(folder: Path) -> None:
    commands = tour()
    names = [command[2] if command[:2] == ["-m", "tune_app"] else command[0] for command in commands]
    assert names == ["run", "status", "best", "report", "sample", "retrain", "export", "-c"]
    done = subprocess.run(
        [sys.executable, "-c", PROCESS, json.dumps([small(command) for command in commands])],
        cwd=folder, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    outputs = [part.partition("\n")[2] for part in re.split(r"^\$ ", done.stdout, flags=re.MULTILINE)[1:]]
    said = dict(zip(names, outputs, strict=True))
    assert "best: trial" in said["run"]
    assert "2 completed" in said["status"]
    assert "best: trial" in said["best"]
    assert "report.html" in said["report"]
    assert "test images" in said["retrain"]
    assert said["-c"].strip() == "torch.Size([64, 3, 16, 16])"
    assert {"grid.png", "my-model", "experiments"} <= {path.name for path in folder.iterdir()}
    card = (folder / "my-model" / "README.md").read_text()
    assert "of a retraining of" in card, "the tour exports the model that the test images were used on"
