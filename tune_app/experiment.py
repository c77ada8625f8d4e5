"""Every file name of an experiment, its manifest, and the lock that keeps it to one driver."""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tune_app import results
from tune_app.config.load import load
from tune_app.config.models import SweepConfig
from tune_app.errors import InputError
from tune_app.events import read
from tune_app.results import Records, TrialRecord

NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
DEFAULT_OUT = Path("experiments")


@dataclass(frozen=True)
class Experiment:
    """One sweep's folder."""

    folder: Path

    @property
    def sweep_yaml(self) -> Path:
        return self.folder / "sweep.yaml"

    @property
    def manifest(self) -> Path:
        return self.folder / "manifest.json"

    @property
    def events(self) -> Path:
        return self.folder / "events.jsonl"

    @property
    def study(self) -> Path:
        return self.folder / "study.journal"

    @property
    def summary(self) -> Path:
        return self.folder / "summary.json"

    @property
    def stop_file(self) -> Path:
        """Its presence asks running trials to park: checkpoint at their next report and wait."""
        return self.folder / ".stop"

    @property
    def trials(self) -> Path:
        return self.folder / "trials"

    def trial(self, trial: str) -> Path:
        return self.trials / trial

    def relative(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def config(self) -> SweepConfig:
        """The resolved configuration this experiment runs with."""
        return load(self.sweep_yaml)

    def records(self) -> list[TrialRecord]:
        """Every trial, in the order they were asked for."""
        return list(self.folded().trials.values())

    def folded(self) -> Records:
        return Records(read(self.events))

    def best(self) -> dict[str, Any] | None:
        """The best trial so far as `best --json` prints it, or None before the first rung."""
        metric = self.config().metric.name
        record = results.best(self.records(), metric)
        return None if record is None else results.describe(record, metric)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the experiment for this process; raises InputError naming the driver that already has it."""
        path = self.folder / ".lock"
        with path.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise InputError(
                    f"{self.folder}: another driver runs this experiment ({file.read().strip() or 'unknown'})",
                    hint="wait for it, or stop it first",
                ) from None
            file.truncate(0)
            file.write(f"host {socket.gethostname()}, pid {os.getpid()}")
            file.flush()
            yield


def create(out: Path, name: str) -> Experiment:
    """A new folder <out>/<name>-<YYYYmmdd-HHMMSS>; raises InputError where it cannot be written."""
    if not NAME.match(name):
        raise InputError(f"{name!r} is no name for an experiment: letters, digits, '.', '_' and '-', at most 64")
    for attempt in range(100):
        suffix = f"-{attempt}" if attempt else ""
        folder = out.absolute() / f"{name}-{datetime.now():%Y%m%d-%H%M%S}{suffix}"
        try:
            (folder / "trials").mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise InputError(
                f"{out}: cannot write the experiment there ({error.strerror})", hint="choose a folder with --out DIR"
            ) from None
        return Experiment(folder)
    raise InputError(f"{out}: a hundred experiments named {name} started within this second")


def check_writable(out: Path) -> None:
    """Raise InputError unless an experiment could be made under `out`; leaves nothing behind."""
    parent = out.absolute()
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise InputError(f"{out}: {parent} is a file, no folder", hint="choose a folder with --out DIR")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"{out}: {parent} is not writable", hint="choose a folder with --out DIR")


def find(where: str, out: Path = DEFAULT_OUT) -> Experiment:
    """The experiment in folder `where`, or the newest under `out` for `latest`; raises InputError if there is none."""
    if where == "latest":
        found = newest(out)
        if found is None:
            raise InputError(
                f"{out}: no experiment there yet", hint="`tune_app run SPACE` makes one; --out names its folder"
            )
        return found
    folder = Path(where)
    for candidate in (folder, out / where):
        if (candidate / "events.jsonl").is_file():
            return Experiment(candidate.absolute())
    raise InputError(f"{where}: no experiment there (it would hold events.jsonl)", hint="`latest` is the newest one")


def newest(out: Path, name: str | None = None) -> Experiment | None:
    """The experiment under `out` that started last, of that `name` if one is given."""
    stamped = re.compile(rf"^{re.escape(name) if name else '.+'}-(\d{{8}}-\d{{6}}(?:-\d+)?)$")
    found = [
        (match.group(1), folder)
        for folder in (out.iterdir() if out.is_dir() else ())
        if (match := stamped.match(folder.name)) and (folder / "events.jsonl").is_file()
    ]
    return Experiment(max(found)[1].absolute()) if found else None


def write(path: Path, content: bytes | str) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def write_json(path: Path, document: Any) -> None:
    write(path, json.dumps(document, indent=2, allow_nan=False) + "\n")
