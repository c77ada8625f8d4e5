"""The forecast of a sweep that has not started."""

from __future__ import annotations

from pathlib import Path

from trainables.progress import report
from tune_app.cluster.hardware import hardware_at
from tune_app.config.schema import SweepConfig
from tune_app.driver.forecast import make_forecast
from tune_app.driver.known_costs import keep_probe, known_forecast
from tune_app.experiment.forecast import Forecast
from tune_app.trackers.console import Quiet


class Progress(Quiet):
    """Console of the probe: its messages show how far it is."""

    def note(self, line: str) -> None:
        report(line)

    def progress(self, line: str) -> None:
        report(line)


def forecast_sweep(config: SweepConfig, out: Path, address: str | None, *, measure: bool) -> Forecast | None:
    """Return the forecast from a probe, or from what is known without one; None if nothing is. Raise TuneAppError."""
    if not measure:
        return known_forecast(config, out, hardware_at(address, config.resources))
    from tune_app.driver.probe import probe

    config, basis = probe(config, address, Progress())
    keep_probe(config, hardware_at(address, config.resources), basis)
    return make_forecast(config, basis)
