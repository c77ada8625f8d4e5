"""The types of the fields of events, each with the words that say what the field must be."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, JsonValue
from typing_extensions import TypedDict


class Expected(str):
    """Annotation of a field's type: the words that say what the field must be."""


def _check_offset(time: str) -> str:
    if datetime.fromisoformat(time).utcoffset() is None:
        raise ValueError
    return time


def list_of_words(*words: str) -> str:
    return f"one of {', '.join(map(repr, words[:-1]))} or {words[-1]!r}"


Int64 = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Scalar = Annotated[bool | Int64 | FiniteFloat | str, Field(union_mode="left_to_right")]
Positive = Annotated[FiniteFloat, Field(gt=0), Expected("a finite number above 0")]
NotNegative = Annotated[FiniteFloat, Field(ge=0), Expected("a finite number, 0 or more")]
Text = Annotated[str, Expected("a string")]
Flag = Annotated[bool, Expected("true or false")]
Time = Annotated[str, AfterValidator(_check_offset), Expected("a time in ISO 8601 with its offset from UTC")]
TrialId = Annotated[str, Field(pattern=r"^[0-9]{4,9}$"), Expected("four digits or more")]
SweepName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"),
    Expected("letters, digits, '.', '_' and '-', at most 64, the first one a letter or digit"),
]
Metrics = Annotated[dict[str, FiniteFloat | None], Expected("an object of finite numbers or null")]
Params = Annotated[dict[str, Scalar], Expected("an object of finite numbers, strings, true or false")]
Table = Annotated[list[dict[str, Scalar | None]], Expected("a list of objects of scalars")]
Draws = Annotated[list[dict[str, FiniteFloat | None]], Expected("a list of objects of finite numbers or null")]
TrialFile = Annotated[str, Field(pattern=r"^trials/[0-9]{4,9}/[A-Za-z0-9_][A-Za-z0-9_.+-]{0,254}$")]
CheckpointPath = Annotated[TrialFile, Expected("a path trials/TRIAL/FILE")]
Pictures = Annotated[dict[str, TrialFile], Expected("an object of paths trials/TRIAL/FILE")]
Fingerprints = Annotated[dict[str, str], Expected("an object of strings")]
SweepState = Literal["completed", "interrupted", "failed", "budget"]
TrialEnd = Literal["completed", "stopped", "failed"]
FailureKind = Literal["error", "worker_lost", "out_of_memory", "non_finite"]
Decision = Literal["continue", "stop"]
Source = Literal["baseline", "sampler", "person", "retraining"]


class LoggedResources(TypedDict, total=False):
    """Share of the machine that one trial occupied."""

    __pydantic_config__ = ConfigDict(strict=True)  # type: ignore[misc]
    cpu: Annotated[FiniteFloat, Field(ge=0)]
    gpu: Annotated[FiniteFloat, Field(ge=0)]


class LoggedConfig(TypedDict, total=False):
    """The resolved configuration. Only `resources` is checked here; config.load checks the rest before it is used."""

    __pydantic_config__ = ConfigDict(extra="allow", strict=True)  # type: ignore[misc]
    resources: LoggedResources


class LoggedPlugin(BaseModel):
    """A user's code that the model or a metric comes from."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    name: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    path: str = ""
    entry_point: str = ""
    version: str = ""
    description: dict[str, JsonValue] = Field(default={})
