"""An interrupted, killed or stopped sweep resumes: every trial ends once and nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import VALLEY, Cli, Sweep
from tests.end_to_end.torture import BRANIN, MARK, check, torture, workers_of
from tune_app.experiment.folder import Experiment
from tune_app.experiment.out_folder import newest

pytestmark = pytest.mark.ray
Driver = subprocess.Popen[str]
Start = Callable[..., Driver]
AWAY = "away"
NIGHT = (*VALLEY, "--resume", "night", "--trials", "6", "--set", "fixed.step_seconds=0.1")


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    """Run `python -m tune_app ARGS` in the background, and return once a line of its output contains `until`."""
    started: list[Driver] = []

    def run(*args: str, until: str) -> Driver:
        driver = subprocess.Popen(
            [sys.executable, "-m", "tune_app", *args],
            cwd=folder, env={**os.environ, MARK: folder.parent.name}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        started.append(driver)
        assert driver.stdout is not None
        said = []
        while until not in (line := driver.stdout.readline()):
            said.append(line)
            assert line, f"it ended without {until!r}: {said}"
        return driver

    yield run
    for driver in started:
        driver.kill()
        driver.communicate()


def the_experiment(folder: Path) -> Experiment:
    found = newest(folder / "experiments")
    assert found is not None
    return found


def test_a_sweep_goes_on_whatever_ended_it(start: Start, cli: Cli, folder: Path) -> None:
    away = folder / AWAY  # parked by a file at the address that the checkpoints go to
    driver = start("run", *NIGHT, "--set", f"storage={away.as_uri()}", until="at 3 kimg")
    assert driver.stdout
    assert any("at 3 kimg" in line for line in driver.stdout), "both trials run"
    hung = workers_of(folder.parent.name)[0]
    os.kill(hung, signal.SIGSTOP)  # which holds up nobody
    began = time.monotonic()
    driver.send_signal(signal.SIGTERM)
    output, _ = driver.communicate(timeout=60)
    assert driver.returncode == 130, output
    assert time.monotonic() - began < 30
    assert "finishing: running trials write a checkpoint, up to 12 s; Ctrl-C again to leave now" in output
    assert "resume with: python -m tune_app resume experiments/night-" in output
    assert ": interrupted; " in cli("status", "latest").stdout
    parked = [record for record in the_experiment(folder).records() if record.kimg > record.rungs[-1].kimg]
    assert parked, "between two rungs, as no one waits for the next"
    assert all(record.checkpoints[-1].kimg == record.kimg for record in parked)
    assert not list(away.rglob(".park"))

    driver = start("resume", "latest", until="at 9 kimg")
    driver.send_signal(signal.SIGINT)
    time.sleep(0.05)
    driver.send_signal(signal.SIGINT)  # at once, whatever the trials do
    began = time.monotonic()
    output, _ = driver.communicate(timeout=60)
    assert driver.returncode == 130
    assert time.monotonic() - began < 3
    assert "resume with: python -m tune_app resume experiments/night-" in output
    done = cli("resume", "latest")
    assert done.returncode == 0, done.stdout + done.stderr
    check(Sweep(the_experiment(folder).folder), trials=6)
    again = cli("resume", "latest")
    assert again.returncode == 0
    assert "the sweep is finished; --trials N adds trials" in again.stdout
    fewer = cli("resume", "latest", "--trials", "3")
    assert fewer.returncode == 2
    assert "search.trials: 3 is less than the 6 trials that exist" in fewer.stderr


def test_a_trial_or_the_sweep_is_stopped_from_another_terminal(start: Start, cli: Cli, folder: Path) -> None:
    driver = start("run", *VALLEY, "--set", "fixed.step_seconds=0.2", until="0001 at 3 kimg")
    (name,) = (path.name for path in (folder / "experiments").iterdir())
    assert cli("stop", name, "0001").returncode == 0
    assert cli("run", *VALLEY, "--resume", "valley").returncode == 2, "it is locked"
    assert driver.stdout
    assert any("0001 stopped" in line for line in driver.stdout)
    assert cli("stop", "latest").returncode == 0
    output, _ = driver.communicate(timeout=60)
    assert driver.returncode == 0, output

    sweep = Sweep(the_experiment(folder).folder)
    records = {record.id: record for record in the_experiment(folder).records()}
    assert (records["0001"].state, records["0001"].reason) == ("stopped", "person")
    assert all(record.ended for record in records.values())
    assert 0 < sum(record.reason == "person" for record in records.values()) <= 3
    assert sweep.summary["state"] == "completed"
    assert sweep.summary["best"]["kimg"] == max(r.rungs[-1].kimg for r in records.values() if r.rungs)
    refused = cli("stop", name, "0001")
    assert refused.returncode == 2
    assert "trial 0001 has already ended (stopped, person)" in refused.stderr


def test_a_spent_budget_outlives_the_session_and_may_be_raised(cli: Cli, folder: Path) -> None:
    # 0.4 s of training: trials end at their next rung once that is spent
    few = ("--trials", "4", "--set", "fixed.step_seconds=0.05", "--set", "budget.cpu_hours=0.0001")
    spent = cli("run", *VALLEY, *few)
    assert spent.returncode == 0, spent.stdout + spent.stderr
    assert "the budget is spent" in spent.stdout
    sweep = Sweep(the_experiment(folder).folder)
    assert sweep.summary["state"] == "budget"
    assert sweep.summary["cost"]["cpu_hours"] >= 0.0001
    asked = len(sweep.of("asked"))
    assert asked < 4
    assert all(event["reason"] in ("budget", "max_kimg") for event in sweep.of("ended"))

    refused = cli("resume", "latest", "--set", "scheduler.max_kimg=81")
    assert refused.returncode == 2
    assert "scheduler.max_kimg: the experiment started with 27, now it is 81" in refused.stderr
    more = cli("resume", "latest", "--set", "budget.cpu_hours=1", "--trials", "5")
    assert more.returncode == 0, more.stdout + more.stderr
    assert "changed: budget.cpu_hours from 0.0001 to 1" in more.stdout
    resumed = Sweep(sweep.folder)
    assert len(resumed.of("ended")) == 5
    assert resumed.of("sweep_resumed")[-1]["changed"] == {
        "search.trials": [4, 5],
        "budget.cpu_hours": [0.0001, 1.0],
    }
    assert resumed.summary["cost"]["cpu_hours"] > sweep.summary["cost"]["cpu_hours"]


def test_two_drivers_that_begin_at_once_make_one_experiment(start: Start, cli: Cli, folder: Path) -> None:
    few = ("branin_space.yaml", "--resume", "night", "--trials", "2")
    drivers = [start("run", *few, until="plan") for _ in range(2)]
    outputs = [driver.communicate(timeout=120)[0] for driver in drivers]
    assert sorted(driver.returncode for driver in drivers) == [0, 2], outputs
    (refused,) = (output for driver, output in zip(drivers, outputs, strict=True) if driver.returncode == 2)
    assert "another driver" in refused
    check(Sweep(the_experiment(folder).folder), trials=2)


def test_a_sweep_loses_nothing_when_its_processes_are_killed_again_and_again(folder: Path) -> None:
    away = folder / AWAY
    branin = (*BRANIN, "--trials", "6", "--set", "fixed.step_seconds=0.1", "--set", f"storage={away.as_uri()}")
    kills = {"driver": 1, "worker": 1, "raylet": 1, "group": 1, "hung": 1}
    sweep, hits = torture(folder, branin, kills, longest=1.5)
    assert hits == kills
    check(sweep, trials=6)
    assert not list(sweep.folder.rglob("checkpoint_*")), "they are at the address, the last two and the best of each"
    kept = Counter(path.parent.name for path in away.rglob("checkpoint_*"))
    assert set(kept) == {event["trial"] for event in sweep.of("asked")}
    assert max(kept.values()) <= 3
