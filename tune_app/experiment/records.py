"""Events folded into records: the state, reports and end of every trial, and the best of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import inf, sqrt
from statistics import fmean, stdev
from typing import Any, Literal

from trainables.catalog import sign
from tune_app.experiment.log import Event

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
    features: str = ""


@dataclass
class Recheck:
    """A trial measured again at the end, with seeds that the sweep never saw."""

    kimg: float
    sampling: dict[str, Any]
    draws: list[dict[str, float]]
    """Metrics of each draw, with more samples and the full sampling budget."""
    same: list[dict[str, float]]
    """The same at the sweep's own budget."""
    pictures: dict[str, str] = field(default_factory=dict)
    features: str = ""

    def estimate(self, metric: str) -> tuple[float, float] | None:
        """Mean over the draws and its standard error, or None where one of them lacks the metric."""
        return estimate(self.draws, metric)


def estimate(draws: list[dict[str, float]], metric: str) -> tuple[float, float] | None:
    """Mean of `metric` and its standard error: by the draws' own errors or by how they differ, whichever is larger."""
    values = [draw[metric] for draw in draws if draw.get(metric) is not None]
    if len(values) < 2 or len(values) < len(draws):
        return None
    own = [draw.get(f"{metric}_stderr") or 0.0 for draw in draws]
    return fmean(values), max(sqrt(sum(error**2 for error in own)) / len(values), stdev(values) / sqrt(len(values)))


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
    further: bool = False
    """Whether it has written a checkpoint since it last failed."""
    gpu: float | None = None
    """The GPU share it runs with, once that differs from the configuration's."""
    recheck: Recheck | None = None

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
        """Those that use up a retry: not one answered with a larger share of a GPU, nor a worker lost on the way.

        On the way means that the trial got further since its last failure: nodes that come and go end no trial.
        """
        return sum(failure["counted"] for failure in self.failures)

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
        self.features: dict[str, str] = {}
        """Fingerprints of the feature sets by name, the sweep's own first."""
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
        self.features = event.get("features", self.features)
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
        record.further = True

    def _rechecked(self, record: TrialRecord, event: Event) -> None:
        record.recheck = Recheck(**{key: event[key] for key in Recheck.__dataclass_fields__ if key in event})

    def _failed(self, record: TrialRecord, event: Event) -> None:
        counted = "gpu" not in event and not (event["kind"] == "worker_lost" and record.further)
        record.failures.append({**{key: event.get(key) for key in ("kind", "message", "retry")}, "counted": counted})
        record.further = False
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


def ranked(records: Iterable[TrialRecord], metric: str) -> list[TrialRecord]:
    """Those that went furthest, the best `metric` first: a value at 1 kimg does not compete with one at 20."""
    measured = [(record, record.value(metric)) for record in records if record.state != "failed" and record.rungs]
    known = [(record, value) for record, value in measured if value is not None]
    furthest = max((record.rungs[-1].kimg for record, _ in known), default=0.0)
    there = [(record, value) for record, value in known if record.rungs[-1].kimg == furthest]
    return [record for record, value in sorted(there, key=lambda pair: sign(metric) * pair[1])]


def best(records: Iterable[TrialRecord], metric: str) -> TrialRecord | None:
    """The best of those measured again, by that; before any was, the best by the sweep's own values."""
    order = ranked(records, metric)
    again = [(record, found[0]) for record in order if record.recheck and (found := record.recheck.estimate(metric))]
    if again:
        return min(again, key=lambda pair: sign(metric) * pair[1])[0]
    return order[0] if order else None


def front(records: Iterable[TrialRecord], metrics: Sequence[str]) -> list[TrialRecord]:
    """The trials that no other one beats in one of `metrics` without losing in another, by the first of them."""
    order = ranked(records, metrics[0])

    def values(record: TrialRecord) -> list[float]:
        return [inf if (v := record.value(metric)) is None else sign(metric) * v for metric in metrics]

    return [
        one
        for one in order
        if not any(
            all(a <= b for a, b in zip(values(other), values(one), strict=True)) and values(other) != values(one)
            for other in order
        )
    ]


def describe(record: TrialRecord, metric: str) -> dict[str, Any]:
    """A trial as `best --json` and summary.json show it; params hold its best sampling setting too.

    `value` is the mean of the draws with fresh seeds where there are any, and `sweep_value` what the sweep measured.
    """
    rung, again = record.rungs[-1], record.recheck
    found = again.estimate(metric) if again else None
    value, stderr = found or (rung.metrics.get(metric), rung.metrics.get(f"{metric}_stderr"))
    return {
        "trial": record.id,
        "value": value,
        "stderr": stderr,
        "sweep_value": rung.metrics.get(metric),
        "draws": len(again.draws) if again and found else 0,
        "kimg": rung.kimg,
        "params": {**record.params, **(again.sampling if again and found else rung.sampling)},
        "pictures": {**rung.pictures, **(again.pictures if again else {})},
        "checkpoint": record.checkpoints[-1][1] if record.checkpoints else None,
        "state": record.state,
        "source": record.source,
        "features": rung.features,
        "metrics": rung.metrics,
    }
