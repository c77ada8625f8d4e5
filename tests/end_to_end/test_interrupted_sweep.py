"""A sweep that is interrupted or killed goes on under its name: every trial ends once, nothing is computed twice."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import Cli, Sweep

pytestmark = pytest.mark.ray
SLOW = ("--trials", "6", "--set", "fixed.step_seconds=0.1")


def start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tune_app", "run", "branin_space.yaml", "--resume", "night", *SLOW]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(driver: subprocess.Popen[str], words: str) -> None:
    assert driver.stdout is not None
    for line in driver.stdout:
        if words in line:
            return
    raise AssertionError(f"the sweep ended without {words!r}")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -9)])
def test_a_sweep_goes_on_where_it_was(cli: Cli, folder: Path, number: signal.Signals, code: int) -> None:
    driver = start(folder)
    wait_for(driver, "at 9 kimg")
    began = time.monotonic()
    driver.send_signal(number)
    output, _ = driver.communicate(timeout=40)
    assert driver.returncode == code, output
    assert time.monotonic() - began < 30
    if code == 130:
        assert "carry on with: python -m tune_app run --resume night" in output

    done = cli("run", "branin_space.yaml", "--resume", "night", *SLOW)
    assert done.returncode == 0, done.stdout + done.stderr
    (experiment,) = (folder / "experiments").iterdir()
    sweep = Sweep(experiment)
    assert [event["trial"] for event in sweep.of("asked")] == [f"{trial:04d}" for trial in range(6)]
    assert set(Counter(event["trial"] for event in sweep.of("ended")).values()) == {1}
    assert len(sweep.of("ended")) == 6
    reports = Counter((event["trial"], event["kimg"]) for event in sweep.of("reported"))
    assert set(reports.values()) == {1}
    assert [event["event"] for event in sweep.events if event["event"].startswith("sweep_")][-2:] == [
        "sweep_resumed",
        "sweep_ended",
    ]
