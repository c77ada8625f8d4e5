"""Sweeps from Python: in a thread, and inside a Ray that the caller has started."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.ray
SWEEP = """
import sys, threading
import tune_app

def sweep():
    changes = {"search.trials": 2, "wandb.mode": "disabled"}
    experiment = tune_app.run(tune_app.load("branin_space.yaml", set=changes), out=sys.argv[1], progress=False)
    print("value", experiment.best().value)

"""
IN_A_THREAD_AND_IN_THE_CALLERS_RAY = """
thread = threading.Thread(target=sweep)
thread.start()
thread.join()

import ray
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
kept = ray.put("kept")
sweep()
print(ray.get(kept))
"""


def test_a_sweep_runs_in_a_thread_and_in_the_ray_of_its_caller_and_leaves_it_as_it_is(folder: Path) -> None:
    code = SWEEP + IN_A_THREAD_AND_IN_THE_CALLERS_RAY
    done = subprocess.run([sys.executable, "-c", code, "out"], cwd=folder, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    first, second, last = done.stdout.splitlines()
    assert first == second
    assert first.startswith("value ")
    assert last == "kept"


RETRAINED = """
import tune_app

changes = {"search.trials": 2, "wandb.mode": "disabled"}
swept = tune_app.run(tune_app.load("branin_space.yaml", set=changes), progress=False)
again = tune_app.retrain(swept.folder, seeds=2, progress=False)
print([record.state for record in again.records()], again.best().value == swept.best().value)
"""


def test_the_winner_is_trained_again_from_python(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RETRAINED], cwd=folder, capture_output=True, text=True, timeout=200
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip() == "['completed', 'completed'] True"


SHOWN = """
import tune_app
from tune_app.errors import SweepFailedError

changes = {"search.trials": 2, "wandb.mode": "disabled", "failures.retries": 0}
try:
    table = tune_app.run(tune_app.load("branin_space.yaml", set=changes)).dataframe()
    print("TABLE", list(table.index), list(table.columns[:4]), bool((table["value"] > 0).all()))
except SweepFailedError as error:
    print("RAISED", error)
"""
FAULTS = Path(__file__).parents[1] / "faults"


def script(folder: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", SHOWN], cwd=folder, capture_output=True, text=True, timeout=200,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_script_shows_the_progress_and_gets_a_table(folder: Path) -> None:
    output = script(folder)
    assert "0001 asked (sampler): x1=" in output
    assert "TABLE ['0000', '0001'] ['state', 'source', 'kimg', 'seconds'] True" in output


def test_a_script_gets_an_error_if_every_trial_failed(folder: Path) -> None:
    path = os.pathsep.join(filter(None, [str(FAULTS), os.environ.get("PYTHONPATH")]))
    output = script(folder, PYTHONPATH=path, TUNE_APP_FAULTS="*:nan", TUNE_APP_FAULTS_ONCE=str(folder))
    (raised,) = (line for line in output.splitlines() if line.startswith("RAISED"))
    assert re.search(r": every trial failed; trial 000[01]: value is nan at 3 kimg, not a finite number$", raised)
