"""A person adds points to a sweep that runs, is killed, or has finished."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Cli, Sweep
from tests.end_to_end.torture import check

pytestmark = pytest.mark.ray
BRANIN = ("branin_space.yaml", "--trials", "4", "--set", "search.sampler=random")


@pytest.fixture
def driver(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a sweep of four slow trials, two at once, in the background."""
    slow = ("--set", "fixed.step_seconds=0.12", "--set", "scheduler.type=none")
    command = [sys.executable, "-m", "tune_app", "run", *BRANIN, *slow]
    process = subprocess.Popen(command, cwd=folder, text=True, stdout=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def wait_for(process: subprocess.Popen[str], words: str) -> None:
    assert process.stdout
    assert any(words in line for line in process.stdout), f"it ended without {words!r}"


def test_no_added_point_is_lost_or_run_twice_when_the_driver_is_killed(
    driver: subprocess.Popen[str], cli: Cli, folder: Path
) -> None:
    wait_for(driver, "0001 asked")
    first = cli("enqueue", "latest", "--set", "x1=1.5")  # both slots are busy
    assert first.returncode == 0, first.stderr
    assert "the point starts as the next trial, as soon as a slot is free" in first.stdout
    wait_for(driver, "asked (person): x1=1.5")
    assert json.loads(cli("enqueue", "latest", "--set", "x1=2.5", "--set", "x2=3.5", "--json").stdout)["running"]
    (experiment,) = (folder / "experiments").iterdir()
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    log = (experiment / "events.jsonl").read_text()
    taken = [json.loads(line) for line in log.splitlines() if '"request"' in line]
    for event in taken:  # as if the driver had been killed before it could remove the file
        params = {name: event["params"][name] for name in ("x1", "x2")}
        (experiment / ".queue" / f"{event['request']}.json").write_text(json.dumps(params))
    third = cli("enqueue", "latest", "--set", "x1=4.5")
    assert "no driver runs this experiment" in third.stdout
    assert "run the point with: python -m tune_app resume experiments/" in third.stdout
    assert "added, not started yet: x1 4.5" in cli("status", "latest").stdout
    done = cli("resume", "latest")
    assert done.returncode == 0, done.stdout + done.stderr
    sweep = Sweep(experiment)
    check(sweep, trials=7)
    added = [event["params"]["x1"] for event in sweep.of("asked") if event["source"] == "person"]
    assert added == [1.5, 2.5, 4.5]
    assert Counter(event["source"] for event in sweep.of("asked"))["sampler"] == 4
    assert not [*(experiment / ".queue").iterdir()]


def test_a_finished_sweep_runs_an_added_point_when_it_is_resumed(cli: Cli, folder: Path) -> None:
    done = cli("run", *BRANIN)
    assert done.returncode == 0, done.stdout + done.stderr
    refused = cli("enqueue", "latest", "--set", "x1=99")
    assert refused.returncode == 2
    assert refused.stderr == "error: --set x1=99: x1 must lie in [-5, 10], not 99\n"
    (experiment,) = (folder / "experiments").iterdir()
    assert not (experiment / ".queue").exists()
    before = time.monotonic()
    added = json.loads(cli("enqueue", "latest", "--set", "x1=3.25", "--json").stdout)
    assert time.monotonic() - before < 10
    assert (added["params"], added["running"], added["trial"]) == ({"x1": 3.25}, False, None)
    again = cli("resume", "latest")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "0004 asked (person): x1=3.25" in again.stdout
    sweep = Sweep(experiment)
    check(sweep, trials=5)
    assert sweep.summary["trials"] == {"completed": 5} or sum(sweep.summary["trials"].values()) == 5
    assert "the sweep is finished" in cli("resume", "latest").stdout
