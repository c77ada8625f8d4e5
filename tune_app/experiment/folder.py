"""Every file name of an experiment, its manifest, and the lock that keeps it to one driver."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from search_spaces.distributions import Categorical
from trainables import storage
from tune_app.config.load import dump, load, restored
from tune_app.config.schema import SweepConfig
from tune_app.errors import InputError
from tune_app.experiment import records as results
from tune_app.experiment.log import read
from tune_app.experiment.records import Records, TrialRecord

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
DEFAULT_OUT = Path("experiments")
PARK_FILE = ".park"
"""Its presence asks running trials to park: checkpoint at their next report and wait."""
TEMPORARY = ".unfinished-"
"""Begins the name of a file that is being written, until it is whole."""


@dataclass(frozen=True)
class Experiment:
    """One sweep's folder."""

    folder: Path

    @property
    def shown(self) -> str:
        """The folder, from the current one where that is shorter."""
        return min(os.path.relpath(self.folder), str(self.folder), key=len)

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
    def features(self) -> Path:
        """The weights of the cnn features that the sweep's numbers are in, where it uses them."""
        return self.folder / "features.pt"

    @property
    def requests(self) -> Path:
        """A folder with an empty file for each thing that the driver is asked for, see `ask`."""
        return self.folder / ".stop"

    @property
    def trials(self) -> Path:
        return self.folder / "trials"

    def trial(self, trial: str) -> Path:
        return self.trials / trial

    def relative(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def place(self, name: str, address: str | None) -> str:
        """Where workers find `name` of this experiment: in its folder, or at the `address` of its storage."""
        return storage.below(storage.below(address, self.folder.name) if address else str(self.folder), name)

    def config(self, changes: dict[str, Any] | None = None) -> SweepConfig:
        """The resolved configuration this experiment runs with, `changes` (key to value) over it."""
        if not self.sweep_yaml.exists():
            begun = self.folded().config
            if not begun:
                raise InputError(f"{self.sweep_yaml} is missing, and the log does not hold it")
            write(self.sweep_yaml, dump(restored(begun, self.events)))
        return load(self.sweep_yaml, set=changes)

    def profile(self) -> str | None:
        """The profile that it was begun with, as far as the manifest tells."""
        found = self._manifest().get("profile")
        return None if found is None else str(found)

    def command(self) -> list[str]:
        """The command that began it, as far as the manifest tells."""
        found = self._manifest().get("command")
        return [str(part) for part in found] if isinstance(found, list) else []

    def _manifest(self) -> dict[str, Any]:
        with suppress(OSError, ValueError):
            found = json.loads(self.manifest.read_text())
            return found if isinstance(found, dict) else {}
        return {}

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
    def locked(self, name: str = ".lock", *, patiently: bool = False) -> Iterator[None]:
        """Hold the experiment for this process; raises InputError naming the one that has it, or waits for its end."""
        path = self.folder / name
        try:
            lock = open(path, "a+", opener=_no_link)  # noqa: SIM115
        except OSError as error:
            raise InputError(f"{path}: cannot be locked ({error.strerror or error})") from None
        with lock as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if patiently else fcntl.LOCK_NB))
            except BlockingIOError:
                file.seek(0)
                raise InputError(
                    f"{self.folder}: another process has this experiment ({file.read().strip() or 'unknown'})",
                    hint="wait for it, or stop it first",
                ) from None
            file.truncate(0)
            file.write(f"host {socket.gethostname()}, pid {os.getpid()}")
            file.flush()
            yield

    def held(self) -> bool:
        """Whether a driver runs this experiment now."""
        try:
            with open(self.folder / ".lock", opener=_no_link) as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def request_stop(self, trial: str | None = None) -> None:
        """Ask the driver to end `trial`, or the whole sweep, gracefully. Raises InputError where it cannot."""
        record = None if trial is None else self.folded().trials.get(trial)
        if trial is not None and record is None:
            raise InputError(f"{self.folder}: there is no trial {trial!r}", hint="`tune_app status` lists them")
        if record is not None and record.ended:
            raise InputError(f"trial {record.id} has ended already ({record.state}, {record.reason})")
        if not self.held():
            raise InputError(f"{self.folder}: no driver runs this experiment, so there is nothing to stop")
        self.ask(record.id if record else "all")

    def ask(self, wish: str) -> None:
        """Ask the driver to end a trial (its id) or `all`, to start no `rest`, to `hold` new ones or `release` them."""
        _own(self.requests)
        self.requests.mkdir(exist_ok=True)
        (self.requests / wish).touch()

    def take_requests(self) -> list[str]:
        """What was asked since the last call."""
        found = [path.name for path in self.requests.glob("*")]
        for name in found:
            (self.requests / name).unlink(missing_ok=True)
        return found

    def check(self, records: Records, config: SweepConfig) -> None:
        """Raise InputError where a folder that a driver writes to leads elsewhere, or a trial is not of `config`."""
        for path in (self.requests, self.trials, *map(self.trial, records.trials)):
            _own(path)
        known = {**config.space.training, **{name: Categorical(choices=(v,)) for name, v in config.fixed.items()}}
        for record in records.trials.values():
            for name, value in record.params.items():
                wrong = known[name].complaint(value) if name in known else "is not searched"
                if wrong:
                    raise InputError(f"{self.events}: trial {record.id} is not of this sweep: {name} {wrong}")

    def checkpoints(self, record: TrialRecord, address: str | None) -> list[str]:
        """The checkpoints of a trial that the log knows, newest first; see `place`."""
        return [self.place(path, address) for _, path in reversed(record.checkpoints)]

    def tidy(self, records: Records, address: str | None) -> None:
        """Remove what a killed process left half-made: temporary files, checkpoints that the log does not know."""
        known = {path for record in records.trials.values() for _, path in record.checkpoints}
        shutil.rmtree(self.requests, ignore_errors=True)
        storage.remove(self.place(PARK_FILE, address))
        for record in records.unfinished.values():
            folder = f"trials/{record.id}"
            for name in storage.names(self.place(folder, address)):
                if name.startswith("checkpoint_") and f"{folder}/{name}" not in known:
                    storage.remove(self.place(f"{folder}/{name}", address))
        for own in (self.folder, *(self.trial(trial) for trial in records.unfinished)):
            for path in own.glob(f"{TEMPORARY}*"):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def create(out: Path, name: str, *, only: bool = False) -> Experiment:
    """A new folder <out>/<name>-<YYYYmmdd-HHMMSS> with an empty log.

    Raises InputError where it cannot be written or, with `only`, where there is an experiment of that name already.
    """
    if not NAME.fullmatch(name):
        raise InputError(f"{name!r} is no name for an experiment: letters, digits, '.', '_' and '-', at most 64")
    with _writing(out):
        out.mkdir(parents=True, exist_ok=True)
        with _alone(out):
            if only and newest(out, name):
                raise InputError(f"{out}: another driver has just begun an experiment named {name}")
            for attempt in range(100):
                suffix = f"-{attempt}" if attempt else ""
                folder = out.absolute() / f"{name}-{datetime.now():%Y%m%d-%H%M%S}{suffix}"
                with suppress(FileExistsError):
                    (folder / "trials").mkdir(parents=True)
                    (folder / "events.jsonl").touch()
                    return Experiment(folder)
    raise InputError(f"{out}: a hundred experiments named {name} started within this second")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Within it, no other process is in `_alone` of the same folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def check_writable(out: Path) -> None:
    """Raise InputError unless an experiment could be made under `out`; leaves nothing behind."""
    with _writing(out):
        parent = out.absolute()
        while not (parent.exists() or parent.is_symlink()):
            parent = parent.parent
        with TemporaryDirectory(prefix=TEMPORARY, dir=parent):
            pass


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{out}: cannot write the experiment there ({error.strerror})", hint="choose a folder with --out DIR"
        ) from None


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
        if _has_log(candidate):
            return Experiment(candidate.absolute())
    raise InputError(f"{where}: no experiment there (it would hold events.jsonl)", hint="`latest` is the newest one")


def newest(out: Path, name: str | None = None) -> Experiment | None:
    """The experiment under `out` that started last, of that `name` if one is given."""
    stamped = re.compile(rf"^{'.+' if name is None else re.escape(name)}-(\d{{8}}-\d{{6}}(?:-\d+)?)$")
    found = [
        (match.group(1), folder)
        for folder in (out.iterdir() if out.is_dir() else ())
        if (match := stamped.match(folder.name)) and _has_log(folder)
    ]
    return Experiment(max(found)[1].absolute()) if found else None


def _has_log(folder: Path) -> bool:
    """Whether an event log lies there; a link to one may lead anywhere."""
    with suppress(OSError):
        return stat.S_ISREG((folder / "events.jsonl").lstat().st_mode)
    return False


def _own(folder: Path) -> None:
    """Raise InputError where a link or a file stands in the place of an experiment's folder."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise InputError(f"{folder} is no folder of this experiment but a link or a file")


def _no_link(path: str, flags: int) -> int:
    """Open a file, not what a link leads to, without waiting at a pipe."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)


def write(path: Path, content: bytes | str) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f"{TEMPORARY}{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def write_json(path: Path, document: Any) -> None:
    write(path, json.dumps(document, indent=2, allow_nan=False) + "\n")
