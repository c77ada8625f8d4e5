"""A sweep that learns from an earlier one: its proposals outlive the earlier experiment."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Cli, Sweep
from tests.end_to_end.torture import check

pytestmark = pytest.mark.ray
ONE_AT_A_TIME = ("--set", "resources.cpu=2")


def points(sweep: Sweep) -> list[dict[str, float]]:
    return [event["params"] for event in sweep.of("asked")]


def test_a_warm_sweep_is_the_same_when_it_is_killed_and_the_earlier_one_deleted(
    branin: Callable[..., Sweep], cli: Cli, folder: Path
) -> None:
    first = branin("--trials", "12", *ONE_AT_A_TIME, "--seed", "3", out="earlier")
    name = first.folder.name
    warm = ("--trials", "6", *ONE_AT_A_TIME, "--set", f"search.warm_start=[earlier/{name}]")
    whole, cold = branin(*warm, out="whole"), branin("--trials", "6", *ONE_AT_A_TIME, out="cold")
    assert points(whole) != points(cold)
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
