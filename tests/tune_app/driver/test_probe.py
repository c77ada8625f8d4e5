"""`plan --measure` on a Ray of its own, with a model that trains nothing for a known time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainables.cpus import cpus
from tune_app.experiment.forecast import Forecast

PLAN = """
import sys
from tune_app.cli import main
from tune_app.driver import probe

probe.PROBE_SECONDS = 1.0
sys.argv[0] = "tune_app"
main()
"""


@pytest.mark.ray
def test_the_probe_runs_as_many_settings_at_once_as_there_would_be_trials(tmp_path: Path) -> None:
    def forecast(*options: str) -> Forecast | None:
        command = ["plan", "branin_space.yaml", "--out", "none", "--json", "--set", "fixed.step_seconds=0.02", *options]
        done = subprocess.run(
            [sys.executable, "-c", PLAN, *command, "--set", f"resources.cpu={cpus() / 2}"],
            cwd=tmp_path, env={**os.environ, "TUNE_APP_CACHE": str(tmp_path)}, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)["forecast"]
        return None if found is None else Forecast.model_validate(found)

    assert forecast() is None
    measured = forecast("--measure")
    assert measured is not None
    assert (measured.basis, measured.slots) == ("a probe of 6 settings", 2)
    assert 0.02 <= measured.cost.kimg < 0.3
    assert measured.start_seconds > 0.5, "Ray has started in this time"
    assert 0 < measured.phase_seconds < 60
    assert forecast() == measured
