"""The probe of `plan --measure` on a Ray of its own, with a model that trains nothing for a known time."""

from __future__ import annotations

import pytest

from trainables.cpus import cpus
from tune_app.config.load import load
from tune_app.driver import probe as probing
from tune_app.driver.probe import probe
from tune_app.trackers.console import Quiet


class Notes(Quiet):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)


@pytest.mark.ray
def test_the_probe_runs_as_many_settings_at_once_as_there_would_be_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "PROBE_SECONDS", 1.0)
    notes = Notes()
    config = load("branin_space.yaml", set={"fixed.step_seconds": 0.02, "resources.cpu": cpus() / 2})
    _, basis = probe(config, None, notes)
    assert notes.lines[-1] == "measuring 6 settings, 2 at once, for 1 s in all"
    assert (basis.slots, len(basis.baselines), len(basis.others)) == (2, 0, 6)
    assert all(0.02 <= cost.kimg < 0.3 for cost in basis.others)
    assert basis.start_seconds > 0.5, "Ray has started in this time"
    assert 0 < basis.phase_seconds < 60
