"""Fixtures of all tests. They run the command line as a user does, in a folder whose name has a space and quotes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: as many tests run at once as there are cores
ASSETS = Path(__file__).parent / "end_to_end/assets"
VALLEY = (str(ASSETS / "valley.yaml"), "--models", str(ASSETS / "valley.py"))
"""Arguments of a sweep of a user's own model, which is Branin again."""
Entry = dict[str, Any]
"""A line of the event log."""
Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / 'a user\'s "work"'
    path.mkdir()
    return path


@pytest.fixture(scope="session")
def shapes_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache folder that tests share, because drawing the shapes takes more than a second."""
    return tmp_path_factory.mktemp("shapes")


@pytest.fixture
def cli(folder: Path) -> Cli:
    """Return a function that runs `python -m tune_app ARGS` in `folder`, with warnings as errors."""

    def run(*args: str, env: dict[str, str] | None = None, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tune_app", *args]
        environment = {**os.environ, "COLUMNS": "120", **(env or {})}
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout)

    return run


def read_entries(experiment: Path) -> list[Entry]:
    """Return the lines of an experiment's event log."""
    return [json.loads(line) for line in (experiment / "events.jsonl").read_text().splitlines()]


class Sweep:
    """A finished experiment that is read from its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events = read_entries(folder)
        self.summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())

    def of(self, kind: str) -> list[Entry]:
        return [event for event in self.events if event["event"] == kind]


@pytest.fixture
def branin(cli: Cli, folder: Path) -> Callable[..., Sweep]:
    """Return a function that runs a Branin sweep through the command line to its end."""

    def run(*args: str, out: str = "experiments") -> Sweep:
        done = cli("run", "branin_space.yaml", "--out", out, *args)
        assert done.returncode == 0, done.stdout + done.stderr
        return Sweep(max((folder / out).iterdir()))

    return run
