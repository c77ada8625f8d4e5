"""What each line of the event log may hold: the fields of every event, and the rule of each field."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, FiniteFloat, TypeAdapter, ValidationError
from typing_extensions import TypedDict

SHOWN = 40


def check(entry: Any) -> None:
    """Raise ValueError, with a sentence that says what is wrong, unless `entry` is an event this version knows.

    A key that a later version added is passed over.
    """
    if not isinstance(entry, dict) or "event" not in entry:
        raise ValueError("it does not say under `event` what it is")
    event = entry["event"]
    if not isinstance(event, str) or event not in EVENTS:
        raise ValueError(f"no event {event!r:.{SHOWN}} is known here; a later version may have written it")
    for key, rule in EVENTS[event].items():
        field = key.rstrip("?")
        if field in entry:
            rule.check(f"`{event}`: {field}", entry[field])
        elif field == key:
            raise ValueError(f"`{event}`: {field} is missing")
    paths = [entry["path"]] if "path" in EVENTS[event] else []
    paths += entry.get("pictures", {}).values() if "pictures?" in EVENTS[event] else []
    for path in paths:
        if path.split("/")[1] != entry["trial"]:
            raise ValueError(f"`{event}`: {path!r:.{SHOWN}} is not in the folder of trial {entry['trial']}")


class Rule:
    """The values of a type; `words` say which, and are what a person is told."""

    def __init__(self, words: str, kind: Any) -> None:
        self._words, self._type = words, TypeAdapter[Any](kind)

    def check(self, what: str, value: Any) -> None:
        try:
            self._type.validate_python(value, strict=True)
        except ValidationError:
            raise ValueError(f"{what} must be {self._words}, not {value!r:.{SHOWN}}") from None


def _one_of(*words: str) -> Rule:
    return Rule(f"one of {', '.join(map(repr, words[:-1]))} or {words[-1]!r}", Literal[words])


def _with_offset(text: str) -> str:
    if datetime.fromisoformat(text).utcoffset() is None:
        raise ValueError
    return text


NotNegative = Annotated[FiniteFloat, Field(ge=0)]
Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Scalar = Annotated[bool | Whole | FiniteFloat | str, Field(union_mode="left_to_right")]
File = Annotated[str, Field(pattern=r"^trials/[0-9]{4,9}/[A-Za-z0-9_][A-Za-z0-9_.+-]{0,254}$")]


class Resources(TypedDict, total=False):
    cpu: NotNegative
    gpu: NotNegative


class Config(TypedDict, total=False):
    """Of the configuration what the log's reader counts with; the whole of it is checked where it is used."""

    resources: Resources


TIME = Rule("a time in ISO 8601 with its offset from UTC", Annotated[str, AfterValidator(_with_offset)])
TRIAL = Rule("four digits or more", Annotated[str, Field(pattern=r"^[0-9]{4,9}$")])
NAME = Rule(
    "letters, digits, '.', '_' and '-', at most 64, the first one a letter or digit",
    Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")],
)
TEXT, FLAG, SEED = Rule("a text", str), Rule("true or false", bool), Rule("a whole number", int)
POSITIVE = Rule("a finite number above 0", Annotated[FiniteFloat, Field(gt=0)])
NOT_NEGATIVE = Rule("a finite number, 0 or more", NotNegative)
METRICS = Rule("an object of finite numbers or null", dict[str, FiniteFloat | None])
PARAMS = Rule("an object of finite numbers, texts, true or false", dict[str, Scalar])
TABLE = Rule("a list of objects of scalars", list[dict[str, Scalar | None]])
CONFIG = Rule("a configuration, its resources two numbers", Config)

DRAWS = Rule("a list of objects of finite numbers or null", list[dict[str, FiniteFloat | None]])
PICTURES = Rule("an object of paths trials/TRIAL/FILE", dict[str, File])

OF_SWEEP = {
    "time": TIME, "name": NAME, "seed": SEED, "config?": CONFIG, "data?": TEXT,
    "features?": Rule("an object of texts", dict[str, str]),
}  # fmt: skip
OF_TRIAL = {"time": TIME, "trial": TRIAL}
EVENTS: dict[str, dict[str, Rule]] = {
    "sweep_started": OF_SWEEP,
    "sweep_resumed": {**OF_SWEEP, "changed?": Rule("an object", dict)},
    "sweep_ended": {
        "time": TIME, "state": _one_of("completed", "interrupted", "failed", "budget"), "hours": NOT_NEGATIVE,
        "reason?": TEXT,
    },
    "asked": {**OF_TRIAL, "params": PARAMS, "source": _one_of("baseline", "sampler")},
    "reported": {
        **OF_TRIAL, "kimg": POSITIVE, "seconds": NOT_NEGATIVE, "rung": FLAG, "metrics": METRICS,
        "decision": _one_of("continue", "stop"), "reason?": TEXT, "trusted?": Rule("true, false or null", bool | None),
        "sampling?": PARAMS, "curve?": TABLE, "levels?": TABLE,
        "pictures?": PICTURES, "features?": TEXT,
    },
    "checkpointed": {**OF_TRIAL, "kimg": NOT_NEGATIVE, "path": Rule("a path trials/TRIAL/FILE", File)},
    "failed": {
        **OF_TRIAL, "kind": _one_of("error", "worker_lost", "out_of_memory", "non_finite"), "message": TEXT,
        "retry": FLAG, "gpu?": Rule("a finite number, 0 or more", NotNegative | None),
    },
    "rechecked": {
        **OF_TRIAL, "kimg": POSITIVE, "seconds": NOT_NEGATIVE, "sampling": PARAMS, "draws": DRAWS, "same": DRAWS,
        "pictures": PICTURES, "features": TEXT,
    },
    "ended": {
        **OF_TRIAL, "state": _one_of("completed", "stopped", "failed"), "reason": TEXT, "kimg": NOT_NEGATIVE,
        "metrics": METRICS,
    },
}  # fmt: skip
"""Of each event its fields; `?`: it may be absent, but null is refused where the reader could not bear it."""
