"""Lines of the event log. For every rule there is an event that breaks only that rule."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tune_app.experiment.events import EVENTS, LoggedEvent, expectation, finite_or_null, parse_event

TIME = "2026-11-24T13:00:00.125+00:00"
LINES = """\
{"event":"sweep_started","time":"2026-11-24T13:00:00.125+00:00","name":"ncsn","seed":0,"config":{"search":{"seed":0},"resources":{"cpu":2,"gpu":0.5}},"data":"5f0c"}
{"event":"sweep_resumed","time":"2026-11-24T15:00:00.125+02:00","name":"my.sweep_2-b","seed":7,"config":{},"data":"","changed":{"a":[1,2]}}
{"event":"asked","time":"2026-11-24T13:00:00.125+00:00","trial":"0000","params":{"lr":1e-3,"n":5,"arch":"unet","ema":true},"source":"baseline"}
{"event":"reported","time":"2026-11-24T13:00:01.125+00:00","trial":"0000","kimg":0.5,"seconds":0,"rung":false,"metrics":{"train_loss":0.25,"kl":null},"sampling":{},"curve":[],"pictures":{},"decision":"continue"}
{"event":"reported","time":"2026-11-24T13:00:02.125+00:00","trial":"0000","kimg":1e6,"seconds":61.5,"rung":true,"metrics":{"kid":0.25,"kid_stderr":null},"sampling":{"step_size":6.0,"init":"data"},"curve":[{"step_size":6.0,"kid":null}],"pictures":{"samples":"trials/0000/samples-1e+06.png"},"decision":"stop","reason":"budget","trusted":true}
{"event":"checkpointed","time":"2026-11-24T13:00:03.125+00:00","trial":"0000","kimg":0,"path":"trials/0000/checkpoint_000000"}
{"event":"failed","time":"2026-11-24T13:00:04.125+00:00","trial":"0000","kind":"out_of_memory","message":"CUDA out of memory \\ud800","retry":true,"gpu":0.5}
{"event":"ended","time":"2026-11-24T13:00:05.125+00:00","trial":"0000","state":"stopped","reason":"asha","kimg":1000000.0,"metrics":{"kid":0.25}}
{"event":"sweep_ended","time":"2026-11-24T13:00:06.125+00:00","state":"interrupted","hours":0.5,"reason":"SIGTERM"}
"""  # noqa: E501
WHOLE = {entry["event"]: entry for entry in map(json.loads, LINES.splitlines())}
"""One event of each kind; of the reports the one at a rung."""
OPTIONAL = {
    "sweep_started": ["config", "data"],
    "sweep_resumed": ["config", "data", "changed"],
    "sweep_ended": ["reason"],
    "reported": ["reason", "trusted", "sampling", "curve", "pictures"],
    "failed": ["gpu"],
}
NUMBER, NOT_NEGATIVE = "a finite number above 0", "a finite number, 0 or more"
NO_TIME = ["", "yesterday", "2026-11-24", "2026-11-24T13:00:00", "1700000000", 1700000000, None]
NO_TRIAL = ["../x", "..", "", "000", "0" * 10, "0000\n", " 0000", "٠٠٠٠", "-001", "0000/../0001", 0, None]
NO_NAME = ["../evil", "", "a" * 65, "-a", ".a", "a b", "a\n", "ä", 1, None]
NO_FILE = [
    "/etc/passwd",
    "../../x",
    "trials/0000/..",
    "trials/0000/.",
    "trials/0000/../0001/x",
    "trials/0000/a/b",
    "trials/0000/",
    "trials/0000",
    "trials/0000\\x",
    "trials/0000/a\\b",
    "trials//0000/x",
    "./trials/0000/x",
    "trials/0000/x\n",
    "trials/0000/.hidden",
    "trials/0000/a\x00",
    "trials/0000/" + "a" * 300,
    "other/0000/x",
    "trials/x/x",
    "",
    None,
]
NO_NUMBER = [float("nan"), float("inf"), -1, 10**400, "1", True, None, [1]]
NO_PARAMS = [None, [], "x", {"a": None}, {"a": [1]}, {"a": {}}, {"a": float("nan")}, {"a": 10**400}]
NO_METRICS = [None, [], "x", {"a": "x"}, {"a": True}, {"a": float("inf")}, {"a": {}}]
NO_CONFIG = [[], "x", 1, None, {"resources": 3}, {"resources": {"cpu": "1"}}, {"resources": {"gpu": -1}}]
NO_CURVE = [None, {}, [1], [{"a": []}], [{"a": float("nan")}]]


def broken() -> list[Any]:
    """Return (event, field, value, words of the message) for every rule."""
    rules: list[tuple[str, str, list[Any], str]] = [
        *((event, "time", NO_TIME, "a time in ISO 8601 with its offset from UTC") for event in WHOLE),
        *((event, "trial", NO_TRIAL, "four digits or more") for event in WHOLE if "trial" in WHOLE[event]),
        ("sweep_started", "name", NO_NAME, "letters, digits"),
        ("sweep_resumed", "name", NO_NAME, "letters, digits"),
        ("sweep_started", "seed", ["0", 0.5, True, None], "a whole number"),
        ("sweep_resumed", "seed", ["0", 0.5, True, None], "a whole number"),
        ("sweep_started", "config", NO_CONFIG, "a configuration"),
        ("sweep_resumed", "config", NO_CONFIG, "a configuration"),
        ("sweep_started", "data", [1, ["x"], None], "a string"),
        ("sweep_resumed", "data", [1, ["x"], None], "a string"),
        ("sweep_resumed", "changed", [[], "x", 1, None, {"a": [1]}], "an object of pairs"),
        ("sweep_ended", "state", ["running", "", None, 1], "one of 'completed', 'interrupted', 'failed' or 'budget'"),
        ("sweep_ended", "hours", NO_NUMBER, NOT_NEGATIVE),
        ("sweep_ended", "reason", [1, ["x"], None], "a string"),
        ("asked", "params", NO_PARAMS, "an object of finite numbers, strings, true or false"),
        ("asked", "source", ["user", None, 1], "one of 'baseline', 'sampler', 'person' or 'retraining'"),
        ("reported", "kimg", [0, *NO_NUMBER], NUMBER),
        ("reported", "seconds", NO_NUMBER, NOT_NEGATIVE),
        ("reported", "rung", [1, 0, "true", None], "true or false"),
        ("reported", "metrics", NO_METRICS, "an object of finite numbers or null"),
        ("reported", "decision", ["pause", None, 1], "one of 'continue' or 'stop'"),
        ("reported", "reason", [1, ["x"], None], "a string"),
        ("reported", "trusted", [1, "true"], "true, false or null"),
        ("reported", "sampling", NO_PARAMS, "an object of finite numbers, strings, true or false"),
        ("reported", "curve", NO_CURVE, "a list of objects"),
        ("reported", "pictures", [None, [], *({"samples": path} for path in NO_FILE)], "an object of paths trials/"),
        ("checkpointed", "kimg", NO_NUMBER, NOT_NEGATIVE),
        ("checkpointed", "path", NO_FILE, "a path trials/"),
        ("failed", "kind", ["killed", None, 1], "one of 'error', 'worker_lost', 'out_of_memory' or 'non_finite'"),
        ("failed", "message", [None, 1, ["x"]], "a string"),
        ("failed", "retry", [1, "true", None], "true or false"),
        ("failed", "gpu", [number for number in NO_NUMBER if number is not None], NOT_NEGATIVE),
        ("ended", "state", ["running", None, 1], "one of 'completed', 'stopped' or 'failed'"),
        ("ended", "reason", [None, 1], "a string"),
        ("ended", "kimg", NO_NUMBER, NOT_NEGATIVE),
        ("ended", "metrics", NO_METRICS, "an object of finite numbers or null"),
    ]
    return [
        pytest.param(event, field, value, f"`{event}`: {field} must be {words}", id=f"{event}-{field}-{value!r:.30}")
        for event, field, values, words in rules
        for value in values
    ]


def test_a_real_log_is_read_and_written_back_unchanged() -> None:
    for line in LINES.splitlines():
        assert parse_event(json.loads(line)).as_json() == json.loads(line)


@pytest.mark.parametrize(("event", "field", "value", "words"), broken())
def test_the_message_names_the_field_that_breaks_a_rule(event: str, field: str, value: Any, words: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]{,200}$") as error:
        parse_event({**WHOLE[event], field: value})
    assert type(error.value) is ValueError
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("event", "field"),
    [(e, f) for e, entry in WHOLE.items() for f in entry if f != "event" and f not in OPTIONAL.get(e, [])],
)
def test_the_message_names_a_missing_field(event: str, field: str) -> None:
    with pytest.raises(ValueError, match=f"^`{event}`: {field} is missing$"):
        parse_event({key: value for key, value in WHOLE[event].items() if key != field})


@pytest.mark.parametrize(("event", "field"), [(e, f) for e, fields in OPTIONAL.items() for f in fields])
def test_an_optional_field_may_be_absent(event: str, field: str) -> None:
    parse_event({key: value for key, value in WHOLE[event].items() if key != field})


@pytest.mark.parametrize(
    ("event", "change"),
    [("checkpointed", {"path": "trials/0001/x"}), ("reported", {"pictures": {"samples": "trials/0001/x.png"}})],
)
def test_a_path_in_the_folder_of_another_trial_is_refused(event: str, change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"^`{event}`: 'trials/0001/x.*' is not in the folder of trial 0000$"):
        parse_event({**WHOLE[event], **change})


@pytest.mark.parametrize("event", ["paused", "Asked", "", "x" * 1000, "\x1b[2J", "\ud800", None, 1, [], {}])
def test_an_unknown_event_is_refused_with_the_likely_reason(event: Any) -> None:
    with pytest.raises(ValueError, match=r"^event .{1,45} is unknown; a later version may have written it$"):
        parse_event({**WHOLE["asked"], "event": event})


def test_an_entry_without_a_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="it has no `event` field"):
        parse_event({"time": TIME})


def test_a_field_of_a_later_version_is_ignored() -> None:
    assert parse_event({**WHOLE["asked"], "colour": {"red": [1]}}) == parse_event(WHOLE["asked"])


def test_numbers_that_json_cannot_hold_become_null() -> None:
    metrics = {"kid": float("inf"), "loss": float("nan"), "fd": 1.5}
    assert finite_or_null({"metrics": metrics, "curve": [{"kid": -float("inf")}], "pictures": {"a": "b"}}) == {
        "metrics": {"kid": None, "loss": None, "fd": 1.5}, "curve": [{"kid": None}], "pictures": {"a": "b"},
    }  # fmt: skip


@pytest.mark.parametrize("kind", EVENTS.values())
def test_every_field_says_what_it_must_be_and_what_it_holds(kind: type[LoggedEvent]) -> None:
    for name, field in kind.model_fields.items():
        if name != "event":
            assert expectation(kind, name)
            assert field.description
