"""The files and the command that `submit` sends to a cluster."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

import search_spaces
import trainables
import tune_app
from trainables.catalog import MODELS
from tune_app.commands.run_command import run_command
from tune_app.config.selection import Selection
from tune_app.config.space_file import SHIPPED

SPACE_FOLDER, MODELS_FOLDER = "space", "models"
STOP_SECONDS = 30
"""Time that a driver needs to park its trials and end, W&B apart. Ray's default of 3 s would kill it too early."""


@dataclass(frozen=True)
class Parcel:
    """Files by their path on the cluster, and the command that runs with them."""

    files: dict[str, Path]
    command: str
    stop_seconds: int
    sends_to_wandb: bool

    def as_json(self) -> dict[str, JsonValue]:
        """Return the JSON document."""
        sizes = self._sizes()
        files: list[JsonValue] = [{"path": name, "bytes": size} for name, size in sizes.items()]
        return {"command": self.command, "files": files, "bytes": sum(sizes.values())}

    def lines(self) -> list[str]:
        """Return the files and the command as text."""
        sizes = self._sizes()
        files = [f"{size:>9}  {name}" for name, size in sizes.items()]
        return [*files, f"{sum(sizes.values()):>9}  bytes in {len(files)} files, then: {self.command}"]

    def _sizes(self) -> dict[str, int]:
        return {name: path.stat().st_size for name, path in self.files.items()}


def pack(selection: Selection) -> Parcel:
    """Return the parcel of a sweep: our three packages, the space file unless it ships with them, the user's models."""
    space = selection.path
    config = selection.load(selection.profile)
    files: dict[str, Path] = {}
    for package in (tune_app, search_spaces, trainables):
        root = Path(str(package.__file__)).parent
        for path in sorted(root.rglob("*")):
            if path.parent.name != "__pycache__" and path.is_file() and not path.is_symlink():
                files[f"{root.name}/{path.relative_to(root).as_posix()}"] = path
    name = space.name
    if space.resolve().parent != SHIPPED.resolve():
        name = f"{SPACE_FOLDER}/{space.name}"
        files[name] = space
    online = config.wandb.mode not in ("offline", "disabled")
    models = {f"{MODELS_FOLDER}/{one.name}": Path(one.path) for one in MODELS.plugins_of(config.model) if one.path}
    files |= models
    command = f"{shlex.join(run_command(name, config.name, selection, models))} --out {_quoted_out(selection.out)}"
    return Parcel(files, command, STOP_SECONDS + (int(config.wandb.finish_timeout) if online else 0), online)


def _quoted_out(folder: Path) -> str:
    """Return the folder for the head's shell. A relative one lies in the home folder, which outlives the job."""
    return shlex.quote(str(folder)) if folder.is_absolute() else f"~/{shlex.quote(folder.as_posix())}"
