"""The forecast of a sweep, as the log holds it, and the cost of a trial that it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from tune_app.formatting import clock, size

Amount = Annotated[FiniteFloat, Field(ge=0)]
Range = Annotated[list[Amount], Field(min_length=2, max_length=2)]


SHOWN_SECONDS = 0.01
"""Shorter parts of a trial are not shown."""


class Stored(BaseModel):
    """A part of the forecast. Fields of a later version are ignored."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", use_attribute_docstrings=True)


class TrialCost(Stored):
    """Seconds of a trial in one slot, while the other slots work too."""

    kimg: Amount
    """Training on a thousand images."""
    rung: Amount = 0.0
    """An evaluation at a rung before the last."""
    final: Amount = 0.0
    """The evaluation at max_kimg."""
    recheck: Amount = 0.0
    """The re-evaluation."""

    def legs(self, rungs: Sequence[float], done: float = 0.0) -> list[float]:
        """Return the seconds from `done` kimg to the next rung, from there to the one after, and so on."""
        ahead = [rung for rung in rungs if rung > done]
        return [
            self.kimg * (high - low) + (self.final if high == rungs[-1] else self.rung)
            for low, high in zip([done, *ahead], ahead, strict=False)
        ]


def mean_cost(costs: Sequence[TrialCost]) -> TrialCost:
    """Return the mean of several costs."""
    return TrialCost(**{name: fmean(getattr(cost, name) for cost in costs) for name in TrialCost.model_fields})


class Forecast(Stored):
    """Time, GPU hours and disk space of a sweep. Each range goes from early stopping at its best to none at all."""

    basis: str
    """What it rests on: a probe, or the name of an earlier experiment."""
    slots: Annotated[int, Field(ge=1)]
    """Number of trials that run at once."""
    hours: Range
    """Hours on the clock, from the command to the answer."""
    gpu_hours: Range
    """Hours of the trials, times their share of a GPU. As in the log, re-evaluations are left out."""
    disk_bytes: Range
    """Checkpoints that are kept, pictures and the log."""
    start_seconds: Amount
    """Seconds of the start of Ray and of the preparation of the images, which `hours` include."""
    phase_seconds: Amount
    """Seconds until the first trial trains, and until a re-evaluation begins: processes start and load the images."""
    cost: TrialCost
    """Mean cost of a trial."""

    def lines(self) -> list[str]:
        """Return the forecast as text."""
        least, most = self.gpu_hours
        spent = [_between(self.hours)]
        spent += [f"{least:.2g} to {most:.2g} GPU hours"] if most else []
        spent.append(f"{size(self.disk_bytes[1])} on disk at most")
        parts = {
            "for a kimg of training": self.cost.kimg,
            "for the evaluation at a rung": self.cost.rung,
            "at the end": self.cost.final,
            "for a re-evaluation": self.cost.recheck,
        }
        measured = [f"{seconds:.2g} s {what}" for what, seconds in parts.items() if seconds >= SHOWN_SECONDS]
        return [
            f"  forecast: {', '.join(spent)}, with {self.slots} trials at once",
            f"    from {self.basis}{': ' if measured else ''}{', '.join(measured)}",
        ]


def outcome(forecast: Forecast, hours: float, gpu_hours: float) -> str:
    """Return what was forecast beside what the sweep took."""
    spent = [f"{_between(forecast.hours)} on the clock, it took {clock(3600 * hours)}"]
    if forecast.gpu_hours[1]:
        low, high = forecast.gpu_hours
        spent.append(f"{low:.2g} to {high:.2g} GPU hours, it took {gpu_hours:.2g}")
    return f"{'; '.join(spent)} (from {forecast.basis})"


def _between(hours: Range) -> str:
    low, high = (clock(3600 * value) for value in hours)
    return f"{low} to {high}" if low != high else f"about {high}"


def forecast_lines(forecast: Forecast | None) -> list[str]:
    """Return the forecast as text, or how to get one."""
    if forecast is None:
        return ["  the time is shown once the first trial reports; `plan SPACE --measure` forecasts it"]
    return forecast.lines()
