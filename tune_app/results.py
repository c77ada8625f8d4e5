"""Events folded into records: the state, reports and end of every trial, and the best of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from math import inf
from typing import Any, Literal

from trainables.catalog import MODELS
from tune_app.config.models import SweepConfig
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
    reason: str = ""
    """Why it is to stop, where that is not ASHA's or max_kimg."""
    trusted: bool | None = None
    sampling: dict[str, Any] = field(default_factory=dict)
    curve: list[dict[str, Any]] = field(default_factory=list)
    levels: list[dict[str, Any]] = field(default_factory=list)
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
    def failed_for_good(self) -> bool:
        return bool(self.failures) and not self.failures[-1]["retry"]

    @property
    def counted_failures(self) -> int:
        """Those that use up a retry: one that was answered with a larger share of a GPU does not."""
        return sum(failure["gpu"] is None for failure in self.failures)

    @property
    def rungs(self) -> list[Report]:
        return [report for report in self.reports if report.rung]

    def value(self, metric: str) -> float | None:
        """The metric at the last rung this trial reached, or None."""
        return self.rungs[-1].metrics.get(metric) if self.rungs else None


class Records:
    """Every trial of a sweep and what was spent, kept current event by event."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.trials: dict[str, TrialRecord] = {}
        self.unfinished: dict[str, TrialRecord] = {}
        """Those of `trials` that have not ended."""
        self.state, self.reason, self.ended_at = "running", "", ""
        self.counts: Counter[str] = Counter()
        self.config: dict[str, Any] = {}
        """The configuration that the sweep began with, or was last resumed with."""
        self.changed: dict[str, Any] = {}
        """What a person changed when it was last resumed: key to [before, after]."""
        self.data = ""
        """Fingerprint of the images."""
        self.set_back = ""
        """The time of the event before the session began, where that is later than its start."""
        self.hours = 0.0
        """On the clock; a session that was killed counts up to its last event."""
        self._spent = {"gpu_hours": 0.0, "cpu_hours": 0.0, "kimg": 0.0}
        self._now: datetime | None = None
        for event in events:
            self.apply(event)

    def cost(self) -> dict[str, float]:
        """What was spent: hours on the clock, and each report's seconds times the share its trial had."""
        return {"hours": self.hours, **self._spent}

    def apply(self, event: Event) -> None:
        kind = event["event"]
        self._tick(event)
        if kind.startswith("sweep_"):
            self._sweep(event)
        elif kind == "asked":
            record = TrialRecord(event["trial"], event["params"], event["source"])
            self.trials[record.id] = self.unfinished[record.id] = record
            self.counts["waiting"] += 1
            self._enter(record, "running")  # a trial is asked for when a slot is free
        else:
            getattr(self, f"_{kind}")(self.trials[event["trial"]], event)

    def _sweep(self, event: Event) -> None:
        ended = event["event"] == "sweep_ended"
        self.state = event["state"] if ended else "running"
        self.reason, self.ended_at = event.get("reason", ""), event["time"] if ended else ""
        self.config, self.data = event.get("config", self.config), event.get("data", self.data)
        self.changed = event.get("changed", {})
        for record in self.unfinished.values():
            self._enter(record, "interrupted" if ended else "waiting")

    def _reported(self, record: TrialRecord, event: Event) -> None:
        if record.state in ("waiting", "interrupted"):
            self._enter(record, "running")
        report = Report(**{key: event[key] for key in Report.__dataclass_fields__ if key in event})
        share = self.config.get("resources", {})
        hours = report.seconds / 3600
        self._spent["cpu_hours"] += hours * share.get("cpu", 1.0)
        self._spent["gpu_hours"] += hours * (share.get("gpu", 0.0) if record.gpu is None else record.gpu)
        self._spent["kimg"] += report.kimg - record.kimg
        record.reports.append(report)

    def _checkpointed(self, record: TrialRecord, event: Event) -> None:
        record.checkpoints.append((event["kimg"], event["path"]))

    def _failed(self, record: TrialRecord, event: Event) -> None:
        record.failures.append({key: event.get(key) for key in ("kind", "message", "retry", "gpu")})
        record.gpu = event.get("gpu", record.gpu)
        self._enter(record, "waiting")

    def _ended(self, record: TrialRecord, event: Event) -> None:
        record.reason = event["reason"]
        self._enter(record, event["state"])
        del self.unfinished[record.id]

    def _tick(self, event: Event) -> None:
        """Add the time since the last event; none passes between sessions, or where the clock was set back."""
        now = datetime.fromisoformat(event["time"])
        if event["event"].startswith("sweep_"):
            self.set_back = self._now.isoformat() if self._now and now < self._now else ""
        if event["event"] == "sweep_ended":
            self.hours = event["hours"]
        elif self._now and event["event"] != "sweep_resumed":
            self.hours += max(0.0, (now - self._now).total_seconds()) / 3600
        self._now = now

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


def summarise(config: SweepConfig, records: Records) -> dict[str, Any]:
    """summary.json: counts by state, the best trial, what was spent."""
    metric = config.metric.name
    record = best(records.trials.values(), metric)
    warning = MODELS[config.model].metrics[metric].warning
    return {
        "name": config.name,
        "state": records.state,
        "trials": {state: count for state, count in sorted(records.counts.items()) if count},
        "metric": config.metric.model_dump(),
        "best": record and describe(record, metric),
        "cost": records.cost(),
        "warnings": [f"metric {metric}: {warning}"] if warning else [],
    }
