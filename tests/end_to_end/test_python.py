"""Sweeps from Python: in a thread, and inside a Ray that the caller has started."""

from __future__ import annotations

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
    print("value", tune_app.run(tune_app.load("branin_space.yaml", set=changes), out=sys.argv[1]).best()["value"])

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
