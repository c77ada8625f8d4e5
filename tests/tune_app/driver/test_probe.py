"""`plan --measure` on a Ray of its own, with a model that trains nothing for a known time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from trainables.cpus import cpus
from tune_app.cli.root import cli
from tune_app.driver import probe as probing
from tune_app.experiment.forecast import Forecast


@pytest.mark.ray
def test_the_probe_runs_as_many_settings_at_once_as_there_would_be_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "PROBE_SECONDS", 1.0)
    monkeypatch.setenv("TUNE_APP_CACHE", str(tmp_path))
    plan = ["plan", "branin_space.yaml", "--out", str(tmp_path / "none"), "--json"]
    plan += ["--set", "fixed.step_seconds=0.02", "--set", f"resources.cpu={cpus() / 2}"]
    assert json.loads(CliRunner().invoke(cli, plan).stdout)["forecast"] is None
    measured, kept = (
        Forecast.model_validate(json.loads(CliRunner().invoke(cli, command).stdout)["forecast"])
        for command in ([*plan, "--measure"], plan)
    )
    assert (measured.basis, measured.slots) == ("a probe of 6 settings", 2)
    assert 0.02 <= measured.cost.kimg < 0.3
    assert measured.start_seconds > 0.5, "Ray has started in this time"
    assert 0 < measured.phase_seconds < 60
    assert kept == measured
