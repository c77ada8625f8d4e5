"""The events of a sweep's log, one frozen model each, and the reader that turns a JSON object into one."""

from math import isfinite
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, JsonValue, TypeAdapter, ValidationError, model_validator
from typing_extensions import Self

from tune_app.experiment.event_fields import (
    CheckpointPath,
    Decision,
    Draws,
    Expected,
    FailureKind,
    Fingerprints,
    Flag,
    LoggedConfig,
    LoggedPlugin,
    Metrics,
    NotNegative,
    Params,
    Pictures,
    Positive,
    Scalar,
    Source,
    SweepName,
    SweepState,
    Table,
    Text,
    Time,
    TrialEnd,
    TrialId,
    list_of_words,
)
from tune_app.experiment.forecast import Forecast

SHOWN_CHARACTERS = 40
"""Length at which an error message cuts off a value."""


class LoggedEvent(BaseModel):
    """One line of events.jsonl. Fields of a later version are ignored."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", use_attribute_docstrings=True)

    time: Time
    """Time at which the event was written: UTC, ISO 8601, to the millisecond."""

    def as_json(self) -> dict[str, JsonValue]:
        """Return the JSON object of the line: the event's name, the time, then the fields that were given."""
        return {"event": self.model_dump(include={"event"})["event"], **self.model_dump(exclude_unset=True)}


class SweepBegan(LoggedEvent):
    """Fields of the two events that begin a session."""

    name: SweepName
    """Name of the experiment."""
    seed: Annotated[int, Expected("a whole number")]
    """Seed of the search."""
    config: Annotated[LoggedConfig, Expected("a configuration whose resources are numbers")] = {}
    """Resolved configuration of this session."""
    data: Text = ""
    """Fingerprint of the images; empty for a model without images."""
    features: Fingerprints = {}
    """Fingerprint of each feature set by name. The metrics use the first one."""
    scale: Metrics = {}
    """kid of real images that were corrupted in some way, by the sweep's features: what a value of kid means."""
    compared: Annotated[dict[str, int], Expected("an object of whole numbers")] = {}
    """Number of real images that samples are compared with, in the `search` and in the `re-evaluation`."""
    sample_metrics: Annotated[int, Field(ge=1), Expected("a whole number, 1 or more")] = 1
    """Version of the sample metrics. 2 compares the re-evaluation with other images than the search."""
    identity: Text = ""
    """Random name of the experiment, which stays the same if its folder is renamed or copied."""
    hours: Annotated[NotNegative | None, Expected("a finite number, 0 or more")] = None
    """Hours of earlier sessions. They are measured by a clock that does not jump when the time of day is set."""
    versions: Fingerprints = {}
    """Versions of Python, of tune_app and of the libraries that the numbers depend on."""
    model_version: Annotated[int | None, Expected("a whole number")] = None
    """Version of the model in the catalog. It changes when the same parameters give other numbers."""
    constants: Params = {}
    """Values of the model's parameters that are not searched: fixed ones and defaults."""
    plugins: Annotated[list[LoggedPlugin], Expected("a list of plug-ins, each with name and sha256")] = []
    """Users' code that the model or its metrics come from: name, hash, file or package, and what it declares."""
    preparation: Annotated[NotNegative | None, Expected("a finite number, 0 or more")] = None
    """Seconds from the command to this event: the start of Ray and the preparation of the images."""


class EarlierTrial(BaseModel):
    """A trial of an earlier experiment that informs the sampler."""

    model_config = ConfigDict(frozen=True, strict=True)
    experiment: str
    """Folder of the earlier experiment."""
    trial: Annotated[str, Field(pattern=r"^[0-9]{4,9}$")]
    """Its number there."""
    state: Literal["completed", "stopped"]
    params: dict[str, Scalar]
    """Values of the parameters that this sweep searches."""
    rungs: Annotated[list[Annotated[list[FiniteFloat], Field(min_length=2)]], Field(min_length=1)]
    """Each rung's kimg, followed by the value of each objective."""


class SweepStarted(SweepBegan):
    """The first session begins."""

    event: Literal["sweep_started"] = "sweep_started"
    warm_start: Annotated[list[EarlierTrial], Expected("a list of trials of earlier experiments")] = []
    """Trials of earlier experiments that inform the sampler: `experiment`, `trial`, `state`, `params` and `rungs`."""
    forecast: Annotated[Forecast | None, Expected("a forecast")] = None
    """Time, GPU hours and disk space expected at the start, and the cost of a trial that they rest on."""


class SweepResumed(SweepBegan):
    """A later session begins."""

    event: Literal["sweep_resumed"] = "sweep_resumed"
    changed: Annotated[
        dict[str, Annotated[list[JsonValue], Field(min_length=2, max_length=2)]], Expected("an object of pairs")
    ] = {}
    """Each configuration key that changed since the last session, with the values before and after."""


class SweepEnded(LoggedEvent):
    """A session ends. A killed session leaves no such event."""

    event: Literal["sweep_ended"] = "sweep_ended"
    state: Annotated[SweepState, Expected(list_of_words(*get_args(SweepState)))]
    """How the session ended."""
    hours: NotNegative
    """Hours on the clock, including earlier sessions."""
    reason: Text = ""
    """`person` if a person ended the sweep."""


class TrialEvent(LoggedEvent):
    """An event of one trial."""

    trial: TrialId
    """The trial's number in the sweep."""

    def paths(self) -> list[str]:
        """Return the files that the event names, relative to the experiment."""
        return []

    @model_validator(mode="after")
    def _check_paths(self) -> Self:
        for path in self.paths():
            if path.split("/")[1] != self.trial:
                raise ValueError(f"{path!r:.{SHOWN_CHARACTERS}} is not in the folder of trial {self.trial}")
        return self


class Asked(TrialEvent):
    """A trial was proposed."""

    event: Literal["asked"] = "asked"
    params: Params
    """Searched and fixed parameters."""
    source: Annotated[Source, Expected(list_of_words(*get_args(Source)))]
    """`baseline` if the configuration lists it, `person` if `enqueue` added it, `retraining` if it has `retrains`, else
    `sampler`.
    """
    retrains: Annotated[TrialId | None, Expected("four digits or more")] = None
    """Trial whose setting this one trains again, with its own seed."""
    request: Text = ""
    """Name of the request of a point that a person added."""


class Reported(TrialEvent):
    """A trial reported losses, and at a rung its evaluation."""

    event: Literal["reported"] = "reported"
    kimg: Positive
    """Thousands of training images seen."""
    seconds: NotNegative
    """Seconds of training and evaluation since the last report."""
    rung: Flag
    """True if the trial was evaluated here."""
    metrics: Metrics
    """Training losses, and at a rung the metrics. `null` stands for a value that is not a finite number."""
    sampling: Params = {}
    """The best sampling setting of the evaluation, as the space names it."""
    settled: Params = {}
    """The same setting with its derived values: raw step size, steps per level and network evaluations."""
    curve: Table = []
    """Every sampling setting tried, with its metrics."""
    levels: Table = []
    """Held-out loss at each noise level: `sigma` and `loss`."""
    pictures: Pictures = {}
    """Picture files by name."""
    features: Text = ""
    """Name and fingerprint of the feature set behind kid and fd."""
    decision: Annotated[Decision, Expected(list_of_words(*get_args(Decision)))]
    """The decision taken on this report."""
    reason: Text = ""
    """`budget` or `person` if one of them stopped the trial, empty if not."""
    trusted: Annotated[bool | None, Expected("true, false or null")] = None
    """True if the rung was trusted at this report. Absent at the last rung and between rungs."""
    checkpoint: Annotated[CheckpointPath | None, Expected("a path trials/TRIAL/FILE")] = None
    """Folder of the checkpoint written at this report, relative to the experiment."""
    hours: Annotated[NotNegative | None, Expected("a finite number, 0 or more")] = None
    """Hours on the clock so far, including earlier sessions."""

    def paths(self) -> list[str]:
        return [*self.pictures.values(), *([self.checkpoint] if self.checkpoint else [])]


class Checkpointed(TrialEvent):
    """A trial wrote a checkpoint. Version 0.1 logged this after each report; now it is only logged on a resume.

    The resume logs a checkpoint of the trial's last report if the driver died before it could log it.
    """

    event: Literal["checkpointed"] = "checkpointed"
    kimg: NotNegative
    """Thousands of training images seen."""
    path: CheckpointPath
    """Folder of the checkpoint, relative to the experiment."""

    def paths(self) -> list[str]:
        return [self.path]


class Failed(TrialEvent):
    """A trial failed."""

    event: Literal["failed"] = "failed"
    kind: Annotated[FailureKind, Expected(list_of_words(*get_args(FailureKind)))]
    """Kind of failure."""
    message: Text
    """The error in one line."""
    retry: Flag
    """True if the trial will be started again."""
    gpu: Annotated[NotNegative | None, Expected("a finite number, 0 or more")] = None
    """Share of a GPU for the next attempt, if the share grows."""


class DrawErrors(BaseModel):
    """The parts of the error of a mean over draws."""

    model_config = ConfigDict(frozen=True)
    samples: NotNegative
    """Standard error from the samples alone."""
    without_group: list[FiniteFloat]
    """The mean without each group of the real images that the samples were compared with."""


class Rechecked(TrialEvent):
    """A finished trial was evaluated again with fresh seeds."""

    event: Literal["rechecked"] = "rechecked"
    kimg: Positive
    """Thousands of training images seen at the evaluated checkpoint."""
    seconds: NotNegative
    """Seconds that the re-evaluation took."""
    sampling: Params
    """Sampling setting of the draws, as the space names it."""
    settled: Params = {}
    """The same setting with its derived values."""
    draws: Draws
    """Metrics of each draw with the re-evaluation's number of samples and network evaluations."""
    same: Draws
    """Metrics of each draw with the sweep's own number of samples and network evaluations."""
    pictures: Pictures
    """Picture files by name."""
    features: Text
    """Name and fingerprint of the feature set behind kid and fd."""
    errors: Annotated[dict[str, DrawErrors], Expected("an object of errors")] = {}
    """The parts of the error of the draws' mean, for kid and kid_alt."""

    def paths(self) -> list[str]:
        return list(self.pictures.values())


class Ended(TrialEvent):
    """A trial ended."""

    event: Literal["ended"] = "ended"
    state: Annotated[TrialEnd, Expected(list_of_words(*get_args(TrialEnd)))]
    """How the trial ended."""
    reason: Text
    """`max_kimg`, `asha`, `budget`, `person` or the kind of the last failure."""
    kimg: NotNegative
    """Thousands of training images seen."""
    metrics: Metrics
    """Metrics of the last rung."""


Event = (
    SweepStarted | SweepResumed | SweepEnded | Asked | Reported | Checkpointed | Failed | Rechecked | Ended
)  # fmt: skip
EVENTS: dict[str, type[LoggedEvent]] = {kind.model_fields["event"].default: kind for kind in get_args(Event)}
_ADAPTER: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])


def parse_event(entry: object) -> Event:
    """Return the event in a JSON object. Raise ValueError if the object is not an event."""
    if not isinstance(entry, dict) or "event" not in entry:
        raise ValueError("it has no `event` field")
    kind = entry["event"]
    if not isinstance(kind, str) or kind not in EVENTS:
        raise ValueError(f"event {kind!r:.{SHOWN_CHARACTERS}} is unknown; a later version may have written it")
    try:
        return _ADAPTER.validate_python(entry)
    except ValidationError as error:
        raise ValueError(_sentence(kind, entry, error)) from None


def finite_or_null(value: object) -> object:
    """Return `value` with every number that JSON cannot represent replaced by None."""
    if isinstance(value, dict):
        return {str(key): finite_or_null(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite_or_null(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def expectation(kind: type[LoggedEvent], field: str) -> str:
    """Return the words that say what a field of an event must be."""
    return next(str(words) for words in kind.model_fields[field].metadata if isinstance(words, Expected))


def _sentence(kind: str, entry: dict[str, object], error: ValidationError) -> str:
    """Return the message for the first field that pydantic refused."""
    first = error.errors(include_url=False)[0]
    if len(first["loc"]) < 2:  # the check of a whole event
        return f"`{kind}`: {first['msg'].removeprefix('Value error, ')}"
    field = str(first["loc"][1])
    if first["type"] == "missing" and len(first["loc"]) == 2:
        return f"`{kind}`: {field} is missing"
    return f"`{kind}`: {field} must be {expectation(EVENTS[kind], field)}, not {entry[field]!r:.{SHOWN_CHARACTERS}}"
