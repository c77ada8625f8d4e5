"""Hostile input ends with exit code 2 and a sentence that names it. Nothing hangs, executes or is written elsewhere."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import pickle
import signal
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torchvision  # noqa: F401 (its seconds, and torch's, are no part of what is timed)

from tests.end_to_end import hostile
from tests.end_to_end.hostile import ASKED, ENDED, REPORTED, Make, experiment
from trainables import checkpoint
from trainables.checkpoint import CheckpointError
from tune_app.cli import main

SECONDS = 5


class Done(NamedTuple):
    code: int | str | None
    stdout: str
    stderr: str


Run = Callable[..., Done]


@pytest.fixture(autouse=True)
def nothing_hangs() -> Iterator[None]:
    def hung(*_: Any) -> None:
        pytest.fail(f"hung for {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, hung)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in this process, without GPU and without Ray."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("HOME", str(folder / "home"))
    monkeypatch.setenv("TUNE_APP_CACHE", str(folder / "cache"))
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr("click.utils.should_strip_ansi", lambda *_: False)  # as on a terminal

    def call(*args: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["tune_app", *args])
        with pytest.raises(SystemExit) as ended:
            main()
        return Done(ended.value.code, *capsys.readouterr())

    return call


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Return the kind and size of every file below a folder."""
    found = {str(path.relative_to(folder)): path.lstat() for path in folder.rglob("*")}
    return {name: (info.st_mode, info.st_size if not name.endswith("cache") else 0) for name, info in found.items()}


def refused(run: Run, folder: Path, *args: str, words: str) -> None:
    """Check that `args` end with exit code 2 and one sentence with `words`, and that no file changes."""
    before = listing(folder.parent)
    done = run(*args)
    after = {
        name: known for name, known in listing(folder.parent).items() if ".lock" not in name and "/cache" not in name
    }
    assert done.code == 2, done.stdout + done.stderr
    assert words in done.stderr
    assert clean(done)
    assert after == {name: known for name, known in before.items() if ".lock" not in name}


def clean(done: Done) -> bool:
    """Check that the output has no traceback and no control sequence of the terminal."""
    text = done.stdout + done.stderr
    return "Traceback" not in text and all(letter.isprintable() or letter == "\n" for letter in text)


@contextmanager
def running(folder: Path) -> Iterator[None]:
    """Hold the experiment's lock, as a running driver does."""
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def cases(inputs: dict[str, tuple[Any, ...]]) -> pytest.MarkDecorator:
    width = len(next(iter(inputs.values())))
    names = ("command", "content", "words") if width == 3 else ("made", "words")
    return pytest.mark.parametrize(names, inputs.values(), ids=inputs.keys())


@cases(hostile.YAML)
def test_a_space_file(run: Run, folder: Path, command: str, content: str | bytes, words: str) -> None:
    hostile.text(content)(folder / "space.yaml")
    refused(run, folder, command, "space.yaml", words=words)


@pytest.mark.parametrize(("value", "words"), hostile.SETS.values(), ids=hostile.SETS.keys())
def test_a_value_of_set(run: Run, folder: Path, value: str, words: str) -> None:
    refused(run, folder, "run", "branin_space.yaml", "--set", value, words=words)


@pytest.mark.parametrize("make", hostile.NO_FILES.values(), ids=hostile.NO_FILES.keys())
def test_what_stands_in_the_place_of_a_space_file(run: Run, folder: Path, make: Make) -> None:
    make(folder / "space.yaml")
    refused(run, folder, "plan", "space.yaml", words="space.yaml")


@pytest.mark.parametrize("name", hostile.BAD_NAMES)
@pytest.mark.parametrize("option", ["--name", "--resume"])
def test_a_name(run: Run, folder: Path, option: str, name: str) -> None:
    refused(run, folder, *hostile.BRANIN, f"{option}={name}", words="name")


@pytest.mark.parametrize("trial", hostile.BAD_TRIALS)
def test_a_trial_to_stop(run: Run, folder: Path, trial: str) -> None:
    experiment(folder / "exp", ASKED)
    with running(folder / "exp"):
        refused(run, folder, "stop", "exp", "--", trial, words="trial")


@cases(hostile.BAD_OUT)
def test_a_folder_for_experiments(run: Run, folder: Path, made: Make, words: str) -> None:
    made(folder / "out")
    refused(run, folder, *hostile.BRANIN, "--out", words, words=words[:40])


@pytest.mark.parametrize("command", ["status", "best", "resume", "stop"])
@cases(hostile.BAD_EXP)
def test_an_experiment_that_is_none(run: Run, folder: Path, command: str, made: Make, words: str) -> None:
    made(folder / "exp")
    refused(run, folder, command, words, words="not an experiment folder")


@pytest.mark.parametrize("command", ["status", "best", "resume", "stop"])
@pytest.mark.parametrize("made", [Path.touch, os.mkfifo, hostile.link("out")], ids=["file", "pipe", "link to itself"])
def test_a_folder_to_look_for_the_latest_in(run: Run, folder: Path, command: str, made: Make) -> None:
    made(folder / "out")
    refused(run, folder, command, "latest", "--out", "out", words="out: there is no experiment yet")


@cases(hostile.BAD_DATA)
def test_a_folder_of_images(run: Run, folder: Path, made: Make, words: str) -> None:
    made(hostile.album(folder / "album"))
    command = ("train", "beta_vae", "--resolution", "16", "--epochs", "1", "--data", "folder:album")
    refused(run, folder, *command, words=words)


def test_a_sweep_looks_for_its_images_before_it_starts_ray(run: Run, folder: Path) -> None:
    refused(run, folder, "run", "ncsn_space.yaml", "--data", "folder:absent", words="absent")


@pytest.mark.parametrize("command", ["status", "best", "resume"])
@pytest.mark.parametrize(("events", "words"), hostile.BAD_LOGS.values(), ids=hostile.BAD_LOGS.keys())
def test_a_log(run: Run, folder: Path, command: str, events: tuple[Any, ...], words: str) -> None:
    experiment(folder / "exp", *events)
    refused(run, folder, command, "exp", words=words)


@pytest.mark.parametrize("command", ["status", "best", "resume"])
@cases(hostile.BAD_FOLDERS)
def test_an_experiment(run: Run, folder: Path, command: str, made: Make, words: str) -> None:
    made(experiment(folder / "exp", ASKED, REPORTED))
    refused(run, folder, command, "exp", words=words)


@pytest.mark.parametrize("command", ["status", "best", "resume"])
def test_an_experiment_without_settings_in_file_or_log(run: Run, folder: Path, command: str) -> None:
    (experiment(folder / "exp", ASKED, config=False) / "sweep.yaml").unlink()
    refused(run, folder, command, "exp", words="sweep.yaml is missing")


@pytest.mark.parametrize(
    "params", [{"x1": 1.0, "x2": 2.0, "beta": 4.0}, {"x1": "abc", "x2": 2.0}, {"x1": 1e9, "x2": 2}]
)
def test_a_trial_of_another_space_is_not_carried_on(run: Run, folder: Path, params: dict[str, Any]) -> None:
    experiment(folder / "exp", {**ASKED, "params": params})
    refused(run, folder, "resume", "exp", words="trial 0000")


def test_a_log_of_another_sweep_is_not_carried_on(run: Run, folder: Path) -> None:
    experiment(folder / "exp", ASKED)
    (folder / "exp" / "sweep.yaml").write_text(hostile.FILE)
    refused(run, folder, "resume", "exp", words="started with")


@pytest.mark.parametrize("command", ["status", "best"])
@pytest.mark.parametrize("spoil", hostile.REPAIRED.values(), ids=hostile.REPAIRED.keys())
def test_what_the_log_can_make_again_is_not_missed(run: Run, folder: Path, command: str, spoil: Make) -> None:
    spoil(experiment(folder / "exp", ASKED, REPORTED, ENDED))
    (folder / "victim").write_text("precious")
    done = run(command, "exp")
    assert done.code == 0, done.stderr
    assert clean(done)
    assert "trial 0000" in done.stdout or "0000  stopped" in done.stdout or spoil is hostile.REPAIRED["torn last line"]
    assert (folder / "victim").read_text() == "precious"


@pytest.mark.parametrize("message", ["\x1b[2J", "\x1b]0;owned\x07", "\u202e", "\x9b2J", "\r\b", "\ud800"])
@pytest.mark.parametrize("command", ["status", "best"])
def test_what_a_worker_said_cannot_move_the_cursor(run: Run, folder: Path, command: str, message: str) -> None:
    failed = {**hostile.FAILED, "message": message}
    experiment(folder / "exp", ASKED, failed, {**ENDED, "state": "failed", "reason": message, "metrics": {}})
    done = run(command, "exp")
    assert done.code == 0, done.stderr
    assert clean(done)


@pytest.fixture
def kept(folder: Path) -> Path:
    """Write a valid checkpoint."""
    import torch

    checkpoint.write(folder / "checkpoint", {"w": torch.zeros(4)}, {"images": 1})
    return folder / "checkpoint"


class Payload:
    """Makes the folder `marker` when unpickled."""

    def __init__(self, folder: Path) -> None:
        self.marker = folder / "marker"

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def archive(name: str, content: bytes, *, compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as made:
        made.writestr(f"archive/{name}", content)
        made.writestr("archive/version", "3\n")
    return file.getvalue()


def old_format(folder: Path) -> bytes:
    import torch

    file = io.BytesIO()
    torch.save({"w": Payload(folder)}, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def new_format(folder: Path) -> bytes:
    import torch

    file = io.BytesIO()
    torch.save({"w": Payload(folder)}, file)
    return file.getvalue()


STATES: dict[str, Callable[[Path], bytes]] = {
    "a pickle": lambda folder: pickle.dumps(Payload(folder)),
    "an old pickle": lambda folder: pickle.dumps(Payload(folder), protocol=2),
    "torch's format": new_format,
    "torch's old format": old_format,
    "a pickle in a zip": lambda folder: archive("data.pkl", pickle.dumps(Payload(folder), protocol=2)),
    "a TorchScript archive": lambda folder: archive("constants.pkl", pickle.dumps(Payload(folder), protocol=2)),
    "a zip bomb": lambda _: archive("data.pkl", bytes(2**26), compression=zipfile.ZIP_DEFLATED),
    "a torn zip": lambda folder: new_format(folder)[:-100],
    "nothing": lambda _: b"",
}


@pytest.mark.parametrize("state", STATES.values(), ids=STATES.keys())
@pytest.mark.parametrize("name", ["state.pt", "state.json"])
def test_a_signed_state_runs_nothing(kept: Path, name: str, state: Callable[[Path], bytes]) -> None:
    content = state(kept.parent)
    (kept / "state.pt").unlink()
    (kept / name).write_bytes(content)
    (kept / "about.json").write_text(json.dumps({"images": 1, "sha256": hashlib.sha256(content).hexdigest()}))
    checkpoint.is_complete(kept)
    with pytest.raises(CheckpointError, match=name):
        checkpoint.read(kept)
    assert not (kept.parent / "marker").exists()


SPOILED: dict[str, Make] = {
    "pickle for a description": lambda kept: (kept / "about.json").write_bytes(pickle.dumps(Payload(kept.parent))),
    "pickle under the old digest": lambda kept: (kept / "state.pt").write_bytes(pickle.dumps(Payload(kept.parent))),
    "torn state": lambda kept: os.truncate(kept / "state.pt", 100),
    "wrong digest": lambda kept: (kept / "about.json").write_text('{"images": 1, "sha256": "00"}'),
    "description nested without end": lambda kept: (kept / "about.json").write_text('{"a":' * 100_000),
    "description of a terabyte": lambda kept: os.truncate(kept / "about.json", 2**40),
    **{
        f"{name} is a {what}": hostile.at(name, make)
        for name in ("about.json", "state.pt")
        for what, make in {
            "pipe": os.mkfifo,
            "folder": Path.mkdir,
            "link to /dev/zero": hostile.link("/dev/zero"),
            "link to nothing": hostile.link("absent"),
        }.items()
    },
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED.keys())
def test_a_spoiled_checkpoint_is_neither_whole_nor_read(kept: Path, spoil: Make) -> None:
    spoil(kept)
    assert not checkpoint.is_complete(kept)
    with pytest.raises(CheckpointError, match="checkpoint"):
        checkpoint.read(kept)
    assert not (kept.parent / "marker").exists()


@pytest.mark.parametrize("name", ["_dict_checkpoint.pkl", ".metadata.json", "state.json"])
def test_a_checkpoint_with_a_file_that_others_would_load_is_not_whole(kept: Path, name: str) -> None:
    (kept / name).write_bytes(pickle.dumps(Payload(kept.parent)))
    assert not checkpoint.is_complete(kept)
    assert not (kept.parent / "marker").exists()
