"""Events folded into records: the state, reports and end of every trial, and the best of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf
from typing import Any, Literal

from tune_app.events import Event

State = Literal["waiting", "running", "completed", "stopped", "failed", "interrupted"]


@dataclass
class Report:
    """One report of a trial; `metrics` holds the training losses, at a rung the evaluation's too."""

    kimg: float
    seconds: float
    rung: bool
    metrics: dict[str, float]
    decision: str
    trusted: bool | None = None
    sampling: dict[str, Any] = field(default_factory=dict)
    curve: list[dict[str, Any]] = field(default_factory=list)
    pictures: dict[str, str] = field(default_factory=dict)


@dataclass
class TrialRecord:
    """What the log says of one trial."""

    id: str
    params: dict[str, Any]
    source: str
    state: State = "waiting"
    reason: str = ""
    reports: list[Report] = field(default_factory=list)
    checkpoints: list[tuple[float, str]] = field(default_factory=list)
    """(kimg, path relative to the experiment) of each checkpoint written."""
    failures: list[dict[str, Any]] = field(default_factory=list)
    gpu: float | None = None
    """The GPU share it runs with, once that differs from the configuration's."""

    @property
    def number(self) -> int:
        return int(self.id)

    @property
    def ended(self) -> bool:
        return self.state in ("completed", "stopped", "failed")

    @property
    def kimg(self) -> float:
        return self.reports[-1].kimg if self.reports else 0.0

    @property
    def seconds(self) -> float:
        return sum(report.seconds for report in self.reports)

    @property
    def rungs(self) -> list[Report]:
        return [report for report in self.reports if report.rung]

    def value(self, metric: str) -> float | None:
        """The metric at the last rung this trial reached, or None."""
        return self.rungs[-1].metrics.get(metric) if self.rungs else None


class Records:
    """Every trial of a sweep, kept current event by event."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.trials: dict[str, TrialRecord] = {}
        self.state = "running"
        self.counts: Counter[str] = Counter()
        for event in events:
            self.apply(event)

    def apply(self, event: Event) -> None:
        kind = event["event"]
        if kind.startswith("sweep_"):
            self._sweep(event)
        elif kind == "asked":
            record = TrialRecord(event["trial"], event["params"], event["source"])
            self.trials[record.id] = record
            self.counts["waiting"] += 1
            self._enter(record, "running")  # a trial is asked for when a slot is free
        else:
            getattr(self, f"_{kind}")(self.trials[event["trial"]], event)

    def _sweep(self, event: Event) -> None:
        ended = event["event"] == "sweep_ended"
        self.state = event["state"] if ended else "running"
        for record in self.trials.values():
            if not record.ended:
                self._enter(record, "interrupted" if ended else "waiting")

    def _reported(self, record: TrialRecord, event: Event) -> None:
        if record.state in ("waiting", "interrupted"):
            self._enter(record, "running")
        keys = ("kimg", "seconds", "rung", "metrics", "decision", "trusted", "sampling", "curve", "pictures")
        record.reports.append(Report(**{key: event[key] for key in keys if key in event}))

    def _checkpointed(self, record: TrialRecord, event: Event) -> None:
        record.checkpoints.append((event["kimg"], event["path"]))

    def _failed(self, record: TrialRecord, event: Event) -> None:
        record.failures.append({key: event[key] for key in ("kind", "message", "retry")})
        record.gpu = event.get("gpu", record.gpu)
        self._enter(record, "waiting")

    def _ended(self, record: TrialRecord, event: Event) -> None:
        record.reason = event["reason"]
        self._enter(record, event["state"])

    def _enter(self, record: TrialRecord, state: State) -> None:
        self.counts[record.state] -= 1
        record.state = state
        self.counts[state] += 1


def best(records: Iterable[TrialRecord], metric: str) -> TrialRecord | None:
    """The lowest `metric` among the trials that went furthest: a value at 1 kimg does not compete with one at 20."""
    measured = [record for record in records if record.state != "failed" and record.value(metric) is not None]
    if not measured:
        return None
    furthest = max(record.rungs[-1].kimg for record in measured)
    return min((r for r in measured if r.rungs[-1].kimg == furthest), key=lambda r: _or_inf(r.value(metric)))


def _or_inf(value: float | None) -> float:
    return inf if value is None else value


def describe(record: TrialRecord, metric: str) -> dict[str, Any]:
    """A trial as `best --json` and summary.json show it; params hold its best sampling setting too."""
    rung = record.rungs[-1]
    return {
        "trial": record.id,
        "value": rung.metrics.get(metric),
        "stderr": rung.metrics.get(f"{metric}_stderr"),
        "kimg": rung.kimg,
        "params": {**record.params, **rung.sampling},
        "pictures": rung.pictures,
        "checkpoint": record.checkpoints[-1][1] if record.checkpoints else None,
        "state": record.state,
        "source": record.source,
        "metrics": rung.metrics,
    }


def cost(records: Iterable[TrialRecord], *, hours: float, cpu: float, gpu: float) -> dict[str, float]:
    """What was spent: `hours` on the wall, and each trial's seconds times its share."""
    records = list(records)
    trial_hours = sum(record.seconds for record in records) / 3600
    gpu_hours = sum(record.seconds * (gpu if record.gpu is None else record.gpu) for record in records) / 3600
    return {
        "hours": hours,
        "gpu_hours": gpu_hours,
        "cpu_hours": trial_hours * cpu,
        "kimg": sum(record.kimg for record in records),
    }
