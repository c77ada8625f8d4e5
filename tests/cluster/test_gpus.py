"""Sweeps on declared GPUs that do not exist. Ray assigns them anyway, and Branin does not use them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import Sweep

pytestmark = pytest.mark.ray
FAULTS = Path(__file__).parents[1] / "faults"
GPUS = 2
TWO_SWEEPS = """
from contextlib import contextmanager
from pathlib import Path
from tune_app.config.load import load
from tune_app.driver import sweep
from tune_app.cluster import ray as cluster

def branin(gpu, trials):
    few = {"scheduler.type": "none", "scheduler.max_kimg": 3, "search.sampler": "random", "failures.retries": 0}
    few["failures.checkpoint_kimg"] = 1  # else a GPU trial writes one every 30 s
    named = {"name": f"share-{gpu}", "search.trials": trials, "wandb.mode": "disabled"}
    return load("branin_space.yaml", set={**few, **named, "resources.cpu": 0.1, "resources.gpu": gpu})

first = branin(0.25, 8)
with cluster.started(first.resources, None) as ray:
    @contextmanager
    def the_same(resources, *_):
        ray.resources = resources
        ray.count()
        yield ray

    sweep.ray_cluster.started = the_same
    for config in (first, branin(0.5, 4)):
        sweep.run_sweep(config, out=Path(f"gpu-{config.resources.gpu}"))
"""


def test_as_many_trials_run_at_once_as_fit_on_each_gpu_and_one_that_needs_more_gets_half(folder: Path) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(FAULTS), os.environ.get("PYTHONPATH")])),
        "TUNE_APP_GPUS": str(GPUS),
        "TUNE_APP_FAULTS": "3:gpu_half",
        "TUNE_APP_FAULTS_ONCE": str(folder),
        "TUNE_APP_MEET": str(GPUS),
    }
    done = subprocess.run(
        [sys.executable, "-c", TWO_SWEEPS], cwd=folder, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for share, at_once in ((0.25, 8), (0.5, 4)):
        # each trial has waited for all the others, so these ran at the same time
        met = [path.name.partition("-on-")[2] for path in (folder / f"{share:g}").iterdir()]
        assert Counter(met) == {str(gpu): round(1 / share) for gpu in range(GPUS)}
        (experiment,) = (folder / f"gpu-{share}").iterdir()
        sweep = Sweep(experiment)
        assert sweep.summary["trials"] == {"completed": at_once}
        grown = [(event["trial"], event["kind"], event["retry"], event["gpu"]) for event in sweep.of("failed")]
        assert grown == ([("0003", "out_of_memory", True, 0.5)] if share == 0.25 else [])
