"""The folder that holds experiments: make a new one, find one, check that one can be made."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory

from trainables.files import UNFINISHED
from tune_app.errors import InputError
from tune_app.experiment.folder import Experiment
from tune_app.experiment.lock import folder_lock
from tune_app.experiment.log import MOST_BYTES

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
DEFAULT_OUT = Path("experiments")


def create(out: Path, name: str, *, only: bool = False) -> Experiment:
    """Make the folder <out>/<name>-<YYYYmmdd-HHMMSS> with an empty log.

    Raise InputError if it cannot be written or, with `only`, if an experiment of that name exists.
    """
    if not NAME.fullmatch(name):
        raise InputError(
            f"{name!r} cannot name an experiment: use letters, digits, '.', '_' and '-', at most 64, "
            "the first one a letter or digit"
        )
    with _writing(out):
        out.mkdir(parents=True, exist_ok=True)
        with folder_lock(out):
            if only and newest(out, name):
                raise InputError(f"{out}: another driver has just started an experiment named {name}")
            folder = stamped_folder(out, name)
            (folder / "trials").mkdir()
            (folder / "events.jsonl").touch()
            return Experiment(folder)


def stamped_folder(out: Path, name: str) -> Path:
    """Make the empty folder <out>/<name>-<YYYYmmdd-HHMMSS> and return it. Raise InputError if that fails."""
    with _writing(out):
        out.mkdir(parents=True, exist_ok=True)
        for attempt in range(100):
            suffix = f"-{attempt}" if attempt else ""
            folder = out.absolute() / f"{name}-{datetime.now():%Y%m%d-%H%M%S}{suffix}"
            with suppress(FileExistsError):
                folder.mkdir()
                return folder
    raise InputError(f"{out}: a hundred experiments named {name} started within this second")


def check_writable(out: Path) -> None:
    """Raise InputError unless an experiment can be made under `out`. Leave nothing behind."""
    with _writing(out):
        parent = out.absolute()
        while not (parent.exists() or parent.is_symlink()):
            parent = parent.parent
        with TemporaryDirectory(prefix=UNFINISHED, dir=parent):
            pass


def check_new_file(path: Path, option: str = "--out") -> None:
    """Raise InputError unless a new file or folder can be written at `path`, in a folder that exists."""
    if path.exists():
        raise InputError(f"{path} exists already", hint=f"give another {option}, or remove it")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{option} {path}: there is no folder {path.absolute().parent}")


def check_new_folder(path: Path, option: str = "--out") -> None:
    """Raise InputError unless a new folder can be made at `path`. The folders above it need not exist."""
    if path.exists():
        raise InputError(f"{path} exists already", hint=f"give another {option}, or remove it")
    above = next(parent for parent in path.absolute().parents if parent.exists())
    if not above.is_dir():
        raise InputError(f"{option} {path}: {above} is not a folder")


def find(where: str, out: Path = DEFAULT_OUT) -> Experiment:
    """Return the experiment `where`: a folder, a name under `out`, or `latest`. Raise InputError if there is none."""
    if where == "latest":
        experiment = newest(out)
        if experiment is None:
            raise InputError(
                f"{out}: there is no experiment yet", hint="`tune_app run SPACE` makes one; --out names its folder"
            )
        return experiment
    for folder in (Path(where), out / where):
        if _has_log(folder):
            return Experiment(folder.absolute())
    raise InputError(
        f"{where}: not an experiment folder: events.jsonl is missing", hint="`latest` names the newest experiment"
    )


def experiments(out: Path) -> list[Experiment]:
    """Return the experiments under `out`, the one that started last first."""
    folders = [folder for folder in (out.iterdir() if out.is_dir() else ()) if _has_log(folder)]
    started = sorted(((_start_of(folder), folder) for folder in folders), reverse=True)
    return [Experiment(folder.absolute()) for _, folder in started]


def newest(out: Path, name: str | None = None) -> Experiment | None:
    """Return the experiment under `out` whose log began last. If `name` is given, consider only those of that name."""
    stamped = re.compile(rf"^{'.+' if name is None else re.escape(name)}-(\d{{8}}-\d{{6}}(?:-\d+)?)$")
    started = [
        (_start_of(folder), match.group(1), folder)
        for folder in (out.iterdir() if out.is_dir() else ())
        if (match := stamped.match(folder.name)) and _has_log(folder)
    ]
    return Experiment(max(started)[-1].absolute()) if started else None


def _start_of(folder: Path) -> datetime:
    """Return the time of the first event, or of the file if it has no event. Folder names have only local time."""
    log = folder / "events.jsonl"
    with suppress(OSError, ValueError, LookupError, TypeError), log.open("rb") as file:
        return datetime.fromisoformat(json.loads(file.readline(MOST_BYTES))["time"]).astimezone(timezone.utc)
    return datetime.fromtimestamp(log.stat().st_mtime, timezone.utc)


def _has_log(folder: Path) -> bool:
    with suppress(OSError):
        return (folder / "events.jsonl").is_file()
    return False


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{out}: cannot write the experiment there ({error.strerror})", hint="choose a folder with --out DIR"
        ) from None
