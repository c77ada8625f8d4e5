"""Hostile inputs: how each is made, and words of the error message that refuses it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from tune_app.config.load import dump, load

Make = Callable[[Path], Any]
TIME = "2026-11-24T13:00:00.000+00:00"
ASKED = {"event": "asked", "time": TIME, "trial": "0000", "params": {"x1": 1.0, "x2": 2.0}, "source": "sampler"}
REPORTED = {"event": "reported", "time": TIME, "trial": "0000", "kimg": 3.0, "seconds": 1.0, "rung": True,
            "metrics": {"value": 9.0}, "decision": "continue"}  # fmt: skip
ENDED = {"event": "ended", "time": TIME, "trial": "0000", "state": "stopped", "reason": "asha", "kimg": 3.0,
         "metrics": {"value": 9.0}}  # fmt: skip
CHECKPOINT = {"event": "checkpointed", "time": TIME, "trial": "0000", "kimg": 3.0}
FAILED = {"event": "failed", "time": TIME, "trial": "0000", "kind": "error", "message": "", "retry": False}
PAYLOAD = "!!python/object/apply:os.mkdir [../marker]"
"""Makes the folder `marker` beside the working folder, if ever a loader runs it."""
FILE = "version: 1\nname: a\nmodel: branin\nparameters:\n  x1: {type: float, low: 0, high: 1}\nmetric: {name: value}\n"

# (command, content of space.yaml, words)
YAML: dict[str, tuple[str, str | bytes, str]] = {
    "payload": ("run", FILE + f"fixed: {PAYLOAD}\n", "space.yaml:7:8: tags"),
    "payload as a key": ("plan", FILE + f"? {PAYLOAD}\n: 1\n", "space.yaml:7:3: tags"),
    "billion laughs": ("run", "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "space.yaml:1:4: anchors"),
    "merge keys": ("validate", FILE + "fixed: {<<: {x2: 1.0}}\n", "merge keys"),
    "nested without end": ("validate", FILE + "fixed: " + "[" * 100_000, "nested more than"),
    "nested blocks without end": ("plan", "".join(" " * i + "a:\n" for i in range(1000)), "nested more than"),
    "binary": ("plan", bytes(range(256)), "is not UTF-8"),
    "NUL": ("run", FILE + "fixed: {x2: '\0'}\n", "not allowed"),
    "escape sequence": ("validate", FILE + "fixed: {x2: '\x1b[2J'}\n", "not allowed"),
    "escaped escape sequence": ("validate", FILE.replace("name: a", 'name: "\\e[2J"'), "name: must be letters"),
    "two megabytes": ("run", FILE + "#" * 2_000_000, "is larger than"),
    "two documents": ("plan", FILE + "---\n" + FILE, "second document"),
    "name that leaves the folder": ("run", FILE.replace("name: a", "name: ../../evil"), "../../evil"),
    "folder that is a secret": ("validate", FILE + "wandb: {api_key: abc}\n", "secrets do not belong"),
    "nothing": ("validate", "", "is empty"),
}
BRANIN = ("run", "branin_space.yaml")
BAD_NAMES = ["", ".", "..", "../evil", "/evil", "a/b", "a\\b", "a" * 65, "a\n", "a b", "-a", "~", "$(mkdir ../marker)",
             "\x1b[2J", "٠", "a\u202eb"]  # fmt: skip
BAD_TRIALS = ["../../x", "..", "/evil", "0001", "00", "", "٠٠٠٠", "0000\n", "all", "*", "trials/0000", "\x1b[2J"]
SETS = {
    "payload in a value": (f"fixed={PAYLOAD}", "tags"),
    "nested without end in a value": ("fixed=" + "[" * 100_000, "nested more than"),
    "anchors in a value": ("fixed={a: &a 1, b: *a}", "anchors"),
    "no key": ("=1", "KEY=VALUE"),
    "empty keys": ("..=1", "--set ..=1"),
    "attribute of Python": ("__class__=1", "__class__"),
    "endless key": (".".join("a" * 20_000) + "=1", "--set a."),
}


def link(target: str | Path) -> Make:
    return lambda path: path.symlink_to(target)


def text(content: str | bytes) -> Make:
    return lambda path: path.write_bytes(content if isinstance(content, bytes) else content.encode())


def instead(make: Make) -> Make:
    """Replace a file or folder by something else."""

    def replace(path: Path) -> None:
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        make(path)

    return replace


def at(name: str, make: Make) -> Make:
    return lambda folder: instead(make)(folder / name)


# what stands where a file is expected: a space file, --out
NO_FILES: dict[str, Make] = {
    "nothing": lambda path: None,
    "folder": Path.mkdir,
    "pipe": os.mkfifo,
    "link to /dev/zero": link("/dev/zero"),
    "link to nothing": link("absent"),
    "link to itself": link("space.yaml"),
    "a terabyte": lambda path: (path.touch(), os.truncate(path, 2**40)),
}
# (what stands at `out`, the --out that is given)
BAD_OUT: dict[str, tuple[Make, str]] = {
    "file": (Path.touch, "out"),
    "below a file": (Path.touch, "out/below/it"),
    "pipe": (os.mkfifo, "out"),
    "link to a file": (link("/dev/null"), "out"),
    "link to itself": (link("out"), "out"),
    "link to nothing": (link("../evil"), "out"),
    "name too long": (Path.mkdir, "out/" + "a" * 300),
    "path too long": (Path.mkdir, "out" + "/a" * 5000),
    "not to be written": (Path.mkdir, "/proc/evil"),
}
BAD_EXP: dict[str, tuple[Make, str]] = {
    "nothing": (lambda path: None, "exp"),
    "file": (Path.touch, "exp"),
    "pipe": (os.mkfifo, "exp"),
    "/dev/zero": (lambda path: None, "/dev/zero"),
    "link to nothing": (link("absent"), "exp"),
    "link to itself": (link("exp"), "exp"),
    "empty folder": (Path.mkdir, "exp"),
    "folder above": (Path.mkdir, "../.."),
    "name too long": (lambda path: None, "a" * 300),
    "path too long": (lambda path: None, "a/" * 5000),
    "escape sequence": (lambda path: None, "\x1b[2J"),
}


def album(folder: Path) -> Path:
    """Write eight valid images of two classes."""
    for split, count in (("train", 6), ("test", 2)):
        for i in range(count):
            path = folder / split / ("a", "b")[i % 2] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (16, 16), (i, i, i)).save(path)
    return folder


def image_bomb(path: Path) -> None:
    """Return a PNG whose header declares 30,000 x 30,000 pixels."""
    Image.new("RGB", (16, 16)).save(path)
    content = bytearray(path.read_bytes())
    content[16:24] = (30_000).to_bytes(4, "big") * 2
    path.write_bytes(content)


# a folder of images, spoiled
BAD_DATA: dict[str, tuple[Make, str]] = {
    "nothing": (shutil.rmtree, "album"),
    "file": (instead(Path.touch), "album"),
    "pipe": (instead(os.mkfifo), "album"),
    "link to itself": (instead(link("album")), "album"),
    "no test split": (lambda path: shutil.rmtree(path / "test"), "at least 9 are needed"),
    "file for a split": (at("train", Path.touch), "train is not a folder"),
    "link to nothing": (at("train/a/x.png", link("absent")), "x.png"),
    "image that links to itself": (at("train/a/x.png", link("x.png")), "x.png"),
    "endless image": (at("train/a/x.png", link("/dev/zero")), "x.png"),
    "pipe for an image": (at("train/a/x.png", os.mkfifo), "x.png"),
    "text for an image": (at("train/a/x.png", text("hello")), "x.png"),
    "pickle for an image": (at("train/a/x.png", text(b"\x80\x04cos\nmkdir\n\x8c\x09../marker\x85R.")), "x.png"),
    "image bomb": (at("train/a/x.png", image_bomb), "x.png"),
    "a terabyte for an image": (at("train/a/x.png", lambda path: (path.touch(), os.truncate(path, 2**40))), "x.png"),
    "escape sequence in a name": (at("train/a/\x1b[2J.png", text("hello")), ".png"),
}


def experiment(folder: Path, *events: dict[str, Any] | str | bytes, config: bool = True) -> Path:
    """Write an interrupted Branin experiment with `events`, or raw lines, after its first event."""
    resolved = load("branin_space.yaml", set={"search.trials": 2})
    first: dict[str, Any] = {"event": "sweep_started", "time": TIME, "name": "branin", "seed": 0, "data": ""}
    if config:
        first["config"] = resolved.model_dump(mode="json", exclude={"profiles"})
    (folder / "trials" / "0000").mkdir(parents=True)
    (folder / "sweep.yaml").write_text(dump(resolved))
    lines = [event if isinstance(event, str | bytes) else json.dumps(event) for event in (first, *events)]
    content = [line.encode() if isinstance(line, str) else line for line in lines]
    (folder / "events.jsonl").write_bytes(b"\n".join(content) + b"\n")
    return folder


def nested(depth: int) -> str:
    return '{"event":"sweep_resumed","config":' + '{"a":' * depth + "1" + "}" * (depth + 1)


# lines of the log after `sweep_started`, and words of the sentence
BAD_LOGS: dict[str, tuple[tuple[dict[str, Any] | str | bytes, ...], str]] = {
    "binary": ((bytes(range(11, 256)),), "events.jsonl:2"),
    "not JSON": (("hello",), "events.jsonl:2"),
    "half a line": (('{"event":"asked"', ASKED), "events.jsonl:2"),
    "list": (("[]",), "events.jsonl:2"),
    "number": (("1",), "events.jsonl:2"),
    "null": (("null",), "events.jsonl:2"),
    "empty line": (("", ASKED), "events.jsonl:2"),
    "no event": (({"time": TIME},), "events.jsonl:2"),
    "unknown event": (({"event": "paused", "time": TIME},), "later version"),
    "event is a list": (({"event": [1], "time": TIME},), "events.jsonl:2"),
    "method for an event": (({**ASKED, "event": "_enter"},), "events.jsonl:2"),
    "nested without end": (("[" * 100_000,), "events.jsonl:2"),
    "nested without end, closed": ((nested(100_000),), "events.jsonl:2"),
    "number without end": (('{"event":"asked","n":' + "9" * 10_000 + "}",), "events.jsonl:2"),
    "line of 64 megabytes": ((b"\0" * 2**26, ASKED), "events.jsonl:2"),
    "event of 8 megabytes": (({**ASKED, "note": "x" * 2**23},), "events.jsonl:2"),
    "not finite": ((ASKED, json.dumps(REPORTED).replace("9.0", "NaN")), "events.jsonl:3"),
    "infinite": ((ASKED, json.dumps(REPORTED).replace("3.0", "1e999")), "events.jsonl:3"),
    "text for a number": ((ASKED, {**REPORTED, "kimg": "3"}), "kimg"),
    "list for metrics": ((ASKED, {**REPORTED, "metrics": [1]}), "metrics"),
    "list for params": (({**ASKED, "params": [1]},), "params"),
    "list for a parameter": (({**ASKED, "params": {"x1": [1]}},), "params"),
    "no trial": (({key: value for key, value in ASKED.items() if key != "trial"},), "trial is missing"),
    "time of no zone": (({**ASKED, "time": "2026-11-24T13:00:00"},), "time"),
    "config of a number": (({"event": "sweep_resumed", "time": TIME, "name": "a", "seed": 0, "config": 3},), "config"),
    "resources of a number": (
        ({"event": "sweep_resumed", "time": TIME, "name": "a", "seed": 0, "config": {"resources": 3}}, ASKED, REPORTED),
        "config",
    ),
    "trial that leaves the folder": (({**ASKED, "trial": "../../x"},), "trial"),
    "trial that nobody asked for": (({**REPORTED, "trial": "0007"},), "0007"),
    "trial asked for twice": ((ASKED, ASKED), "events.jsonl:3"),
    "trial ended twice": ((ASKED, REPORTED, ENDED, ENDED), "events.jsonl:5"),
    "report after the end": ((ASKED, REPORTED, ENDED, {**REPORTED, "kimg": 9.0}), "events.jsonl:5"),
    "checkpoint elsewhere": ((ASKED, {**CHECKPOINT, "path": "../../../etc"}), "path"),
    "checkpoint at the root": ((ASKED, {**CHECKPOINT, "path": "/etc"}), "path"),
    "checkpoint of another trial": ((ASKED, {**CHECKPOINT, "path": "trials/0001/checkpoint_000000"}), "0001"),
    "picture elsewhere": ((ASKED, {**REPORTED, "pictures": {"samples": "/etc/passwd"}}), "pictures"),
}
# an experiment, spoiled, that no command may use
BAD_FOLDERS: dict[str, tuple[Make, str]] = {
    "log is a folder": (at("events.jsonl", Path.mkdir), "events.jsonl"),
    "log is a pipe": (at("events.jsonl", os.mkfifo), "events.jsonl"),
    "log is a link to /dev/zero": (at("events.jsonl", link("/dev/zero")), "events.jsonl"),
    "settings are a bomb": (at("sweep.yaml", text("a: &a [x, x]\nb: [*a, *a]\n")), "sweep.yaml:1:4"),
    "settings with a payload": (at("sweep.yaml", text(FILE + f"fixed: {PAYLOAD}\n")), "sweep.yaml:7:8"),
    "settings of two megabytes": (at("sweep.yaml", text("#" * 2_000_000)), "sweep.yaml"),
    "settings nested without end": (at("sweep.yaml", text("[" * 100_000)), "sweep.yaml"),
    "settings are binary": (at("sweep.yaml", text(bytes(range(256)))), "sweep.yaml"),
    "settings are a folder": (at("sweep.yaml", Path.mkdir), "sweep.yaml"),
    "settings are a pipe": (at("sweep.yaml", os.mkfifo), "sweep.yaml"),
    "settings are a link to /dev/zero": (at("sweep.yaml", link("/dev/zero")), "sweep.yaml"),
    "settings with a name that leaves": (
        at("sweep.yaml", text(FILE.replace("name: a", "name: ../../evil"))), "../../evil",
    ),
}  # fmt: skip
# what can be made again from the log, and files of no account: commands that look go on
REPAIRED: dict[str, Make] = {
    f"{name} {what}": at(name, make)
    for name in ("summary.json", "manifest.json", "study.journal")
    for what, make in {
        "garbage": text(b"\xff{"),
        "of another shape": text("[1]"),
        "nested without end": text("[" * 100_000),
        "a folder": Path.mkdir,
        "a pipe": os.mkfifo,
        "a link to /dev/zero": link("/dev/zero"),
    }.items()
} | {
    "no settings": lambda folder: (folder / "sweep.yaml").unlink(),
    "settings are a link to nothing": at("sweep.yaml", link("absent")),
    "torn last line": lambda folder: os.truncate(folder / "events.jsonl", (folder / "events.jsonl").stat().st_size - 9),
    "lock is a folder": at(".lock", Path.mkdir),
}
