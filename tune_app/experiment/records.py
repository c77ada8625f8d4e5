"""Records computed from the log: state, reports and end of every trial, and the cost of the sweep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from pydantic import JsonValue

from search_spaces.distributions import Scalar
from tune_app.experiment.event_fields import LoggedConfig, LoggedPlugin
from tune_app.experiment.events import (  # fmt: skip
    Asked,
    Checkpointed,
    EarlierTrial,
    Ended,
    Event,
    Failed,
    Rechecked,
    Reported,
    SweepBegan,
    SweepEnded,
    SweepResumed,
    SweepStarted,
)
from tune_app.experiment.forecast import Forecast

State = Literal["waiting", "running", "completed", "stopped", "failed", "interrupted"]


@dataclass
class TrialRecord:
    """The log's facts about one trial."""

    id: str
    params: dict[str, Scalar]
    source: str
    state: State = "waiting"
    reason: str = ""
    reports: list[Reported] = field(default_factory=list, repr=False)
    seconds: float = 0.0
    """Seconds of training and evaluation so far."""
    checkpoints: list[Checkpointed] = field(default_factory=list, repr=False)
    failures: list[Failed] = field(default_factory=list)
    counted_failures: int = 0
    """Failures that use up a retry.

    A failure that is answered with a larger share of a GPU does not count. Neither does a lost worker if the trial has
    written a checkpoint since its last failure, because nodes may come and go.
    """
    progressed: bool = False
    """True if the trial has written a checkpoint since its last failure."""
    gpu: float | None = None
    """Share of a GPU that the trial occupies, if it differs from the configuration's."""
    recheck: Rechecked | None = None
    retrains: str = ""
    """Trial whose setting this one trains again with another seed, empty for a trial of the search."""
    retrainings: list[TrialRecord] = field(default_factory=list)
    """The trials that train this one's setting again."""

    @property
    def number(self) -> int:
        """Position in the sweep, from 0."""
        return int(self.id)

    @property
    def ended(self) -> bool:
        """True if the log holds the end of the trial."""
        return self.state in ("completed", "stopped", "failed")

    @property
    def kimg(self) -> float:
        """Thousands of training images seen at the last report."""
        return self.reports[-1].kimg if self.reports else 0.0

    @property
    def failed_for_good(self) -> bool:
        """True if the trial is not retried after its last failure."""
        return bool(self.failures) and not self.failures[-1].retry

    @property
    def decided(self) -> bool:
        """True if the log holds the decision to end the trial. The end itself may not be logged yet."""
        return self.failed_for_good or bool(self.reports and self.reports[-1].decision == "stop")

    def checkpoint_at(self, kimg: float) -> str | None:
        """Return the checkpoint written at `kimg`, relative to the experiment, or None."""
        return next((one.path for one in reversed(self.checkpoints) if one.kimg == kimg), None)

    @property
    def rungs(self) -> list[Reported]:
        """Reports at rungs."""
        return [report for report in self.reports if report.rung]

    def value(self, metric: str) -> float | None:
        """Return the metric at the last rung that the trial reached, or None."""
        return self.rungs[-1].metrics.get(metric) if self.rungs else None


class Records:
    """Every trial of a sweep and the cost of the sweep, updated with each event."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.trials: dict[str, TrialRecord] = {}
        self.searched: list[TrialRecord] = []
        """The trials of the search, without those that train a setting again."""
        self.added = 0
        """Number of trials that a person added. `search.trials` does not count them."""
        self.requests: set[str] = set()
        """Requests for points that trials have taken."""
        self.unfinished: dict[str, TrialRecord] = {}
        """The trials that have not ended."""
        self.state, self.reason, self.ended_at = "running", "", ""
        self.counts: Counter[str] = Counter()
        """Number of trials in each state."""
        self.config: LoggedConfig = {}
        """The configuration of the last session."""
        self.changed: dict[str, list[JsonValue]] = {}
        """Configuration keys that changed at the last resume, with the values before and after."""
        self.data = ""
        """Fingerprint of the images."""
        self.features: dict[str, str] = {}
        """Fingerprint of each feature set by name. The metrics use the first one."""
        self.scale: dict[str, float | None] = {}
        """kid of corrupted real images, by corruption."""
        self.compared: dict[str, int] = {}
        """Number of real images that samples are compared with."""
        self.sample_metrics = 1
        """Version of the sample metrics with which the sweep started."""
        self.clock_set_back = ""
        """Time of the last event before this session, if that is later than the session's start."""
        self.hours = 0.0
        """Hours on the clock. A session that was killed counts up to its last report."""
        self.identity = ""
        """Random name of the experiment, empty if version 0.1 created it."""
        self.versions: dict[str, str] = {}
        """Versions of the libraries in the last session."""
        self.model_version: int | None = None
        """Version of the model in the catalog when the sweep started."""
        self.warm_start: list[EarlierTrial] = []
        """Trials of earlier experiments that inform the sampler. They are no trials of this sweep."""
        self.constants: dict[str, Scalar] = {}
        """Values of the model's parameters that are not searched."""
        self.plugins: list[LoggedPlugin] = []
        """Users' code that the last session ran."""
        self.forecast: Forecast | None = None
        """What was expected at the start."""
        self.preparation: float | None = None
        """Seconds from the first command to the start of the log: Ray and the preparation of the images."""
        self._by_wall_clock = True
        self._spent = {"gpu_hours": 0.0, "cpu_hours": 0.0, "kimg": 0.0}
        self._last_time: datetime | None = None
        for event in events:
            self.apply(event)

    def cost(self) -> dict[str, float]:
        """Return hours on the clock, GPU hours, CPU hours and thousands of training images."""
        return {"hours": self.hours, **self._spent}

    def apply(self, event: Event) -> None:
        """Update the records with one more event."""
        self._count_hours(event)
        match event:
            case SweepStarted() | SweepResumed():
                self._begin_session(event)
            case SweepEnded():
                self.state, self.reason, self.ended_at = event.state, event.reason, event.time
                for record in self.unfinished.values():
                    self._set_state(record, "interrupted")
            case Asked():
                record = TrialRecord(event.trial, event.params, event.source, retrains=event.retrains or "")
                (self.trials[event.retrains].retrainings if event.retrains else self.searched).append(record)
                if event.source == "person":
                    self.added += 1
                    self.requests.add(event.request)
                self.trials[record.id] = self.unfinished[record.id] = record
                self.counts["waiting"] += 1
                self._set_state(record, "running")  # the searcher proposes a trial only when a slot is free
            case Reported():
                self._add_report(self.trials[event.trial], event)
            case Checkpointed():
                self._add_checkpoint(self.trials[event.trial], event)
            case Failed():
                self._add_failure(self.trials[event.trial], event)
            case Rechecked():
                self.trials[event.trial].recheck = event
            case Ended():
                record = self.unfinished.pop(event.trial)
                record.reason = event.reason
                self._set_state(record, event.state)

    def _begin_session(self, event: SweepStarted | SweepResumed) -> None:
        self.state, self.reason, self.ended_at = "running", "", ""
        self.config = event.config or self.config
        self.data = event.data or self.data
        self.features = event.features or self.features
        self.scale = event.scale or self.scale
        self.compared = event.compared or self.compared
        self.sample_metrics = max(self.sample_metrics, event.sample_metrics)
        self.identity = self.identity or event.identity
        self.versions = event.versions or self.versions
        self.model_version = self.model_version or event.model_version
        self.constants = self.constants or event.constants
        self.plugins = event.plugins or self.plugins
        self._by_wall_clock = event.hours is None  # as in version 0.1
        if isinstance(event, SweepStarted):
            self.warm_start, self.forecast, self.preparation = event.warm_start, event.forecast, event.preparation
        self.changed = event.changed if isinstance(event, SweepResumed) else {}
        for record in self.unfinished.values():
            self._set_state(record, "waiting")

    def _add_report(self, record: TrialRecord, report: Reported) -> None:
        if record.state in ("waiting", "interrupted"):
            self._set_state(record, "running")
        resources = self.config.get("resources", {})
        hours = report.seconds / 3600
        self._spent["cpu_hours"] += hours * resources.get("cpu", 1.0)
        self._spent["gpu_hours"] += hours * (resources.get("gpu", 0.0) if record.gpu is None else record.gpu)
        self._spent["kimg"] += report.kimg - record.kimg
        record.reports.append(report)
        record.seconds += report.seconds
        if report.checkpoint:
            saved = Checkpointed(time=report.time, trial=report.trial, kimg=report.kimg, path=report.checkpoint)
            self._add_checkpoint(record, saved)

    def _add_checkpoint(self, record: TrialRecord, checkpoint: Checkpointed) -> None:
        record.checkpoints.append(checkpoint)
        record.progressed = True

    def _add_failure(self, record: TrialRecord, failure: Failed) -> None:
        grows = "gpu" in failure.model_fields_set
        record.counted_failures += not (grows or (failure.kind == "worker_lost" and record.progressed))
        record.failures.append(failure)
        record.progressed = False
        if grows:
            record.gpu = failure.gpu
        self._set_state(record, "waiting")

    def _count_hours(self, event: Event) -> None:
        """Add the time since the last event, unless a session ended in between or the clock was set back."""
        now = datetime.fromisoformat(event.time)
        if isinstance(event, SweepStarted | SweepResumed | SweepEnded):
            self.clock_set_back = self._last_time.isoformat() if self._last_time and now < self._last_time else ""
        if isinstance(event, SweepEnded | SweepBegan | Reported) and event.hours is not None:
            self.hours = event.hours
        elif self._by_wall_clock and self._last_time and not isinstance(event, SweepResumed):
            self.hours += max(0.0, (now - self._last_time).total_seconds()) / 3600
        self._last_time = now

    def _set_state(self, record: TrialRecord, state: State) -> None:
        self.counts[record.state] -= 1
        record.state = state
        self.counts[state] += 1
