"""A sweep that learns from an earlier one: its proposals outlive the earlier experiment."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Cli, Sweep
from tests.end_to_end.torture import check
from tests.events import asked, ended, reported, started
from tune_app.config.load import load
from tune_app.experiment.log import EventLog
from tune_app.experiment.out_folder import create

pytestmark = pytest.mark.ray
ONE_AT_A_TIME = ("--set", "resources.cpu=2")


def points(sweep: Sweep) -> list[dict[str, float]]:
    return [event["params"] for event in sweep.of("asked")]


def an_earlier_sweep(out: Path) -> Path:
    """Write a sweep of 12 trials whose value is best at (5, 5), and return its folder."""
    draw, folder = random.Random(3), create(out, "branin").folder
    log = EventLog(folder / "events.jsonl")
    log.append(started(config=load("branin_space.yaml").model_dump(mode="json", exclude={"profiles"})))
    for number in range(12):
        name, x1, x2 = f"{number:04d}", draw.uniform(-5, 10), draw.uniform(0, 15)
        log.append(asked(name, x1=x1, x2=x2, step_seconds=0.0))
        log.append(reported(name, 27.0, "stop", value=(x1 - 5) ** 2 + (x2 - 5) ** 2))
        log.append(ended(name, kimg=27.0))
    log.close()
    return folder


def test_a_warm_sweep_is_the_same_when_it_is_killed_and_the_earlier_one_deleted(
    branin: Callable[..., Sweep], cli: Cli, folder: Path
) -> None:
    name = an_earlier_sweep(folder / "earlier").name
    warm = ("--trials", "6", *ONE_AT_A_TIME, "--set", f"search.warm_start=[earlier/{name}]")
    whole = branin(*warm, out="whole")
    assert len(whole.of("sweep_started")[0]["warm_start"]) == 12
    assert whole.summary["trials"].keys() <= {"completed", "stopped"}
    assert sum(whole.summary["trials"].values()) == 6
    assert str(folder / "earlier" / name) in (whole.folder / "sweep.yaml").read_text()
    check(whole, trials=6)

    command = [sys.executable, "-m", "tune_app", "run", "branin_space.yaml", *warm, "--out", "killed"]
    driver = subprocess.Popen(command, cwd=folder, text=True, stdout=subprocess.PIPE)
    assert driver.stdout
    said = []
    for line in driver.stdout:
        said.append(line)
        if "0002 asked" in line:
            break
    driver.kill()
    driver.communicate()
    assert f"warm start: 12 of 12 trials of {name} inform the sampler\n" in said
    shutil.rmtree(folder / "earlier")
    (killed,) = (folder / "killed").iterdir()
    done = cli("resume", str(killed))
    assert done.returncode == 0, done.stdout + done.stderr
    assert points(Sweep(killed)) == points(whole)

    refused = cli("plan", "branin_space.yaml", "--set", f"search.warm_start=[earlier/{name}]")
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"error: search.warm_start: earlier/{name}: not an experiment folder")
    assert json.loads(cli("status", str(killed), "--json").stdout)["counts"].keys() <= {"completed", "stopped"}
