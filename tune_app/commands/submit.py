"""A sweep as a job of a Ray cluster: our own files go up and nothing else, its log and its exit code come back."""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import search_spaces
import trainables
import tune_app
from tune_app.cluster.ray import PLACES, use_token
from tune_app.config.schema import SweepConfig
from tune_app.errors import InputError, TuneAppError

SUFFIXES = (".py", ".yaml", ".json")
SPACE_FOLDER = "space"
DASHBOARD = "http://127.0.0.1:8265"
ANSWER_SECONDS, LOOK_SECONDS, LOST_SECONDS = 5.0, 1.0, 60.0
STOP_SECONDS = 30
"""What a driver needs to park its trials and leave, W&B apart; Ray's own 3 would kill it in the middle."""
WANDB_KEY = (
    "W&B's key is never sent: the head takes WANDB_API_KEY from its own environment, or ~/.netrc; else `sync` later"
)
Say = Callable[[str], None]


@dataclass(frozen=True)
class Parcel:
    """What would be sent, by the path that it has there, and the command that is run with it."""

    files: dict[str, Path]
    command: str
    stop_seconds: int

    def as_json(self) -> dict[str, Any]:
        sizes = [{"path": name, "bytes": path.stat().st_size} for name, path in self.files.items()]
        return {"command": self.command, "files": sizes, "bytes": sum(size["bytes"] for size in sizes)}


def parcel_lines(found: dict[str, Any]) -> list[str]:
    """The files and the command of a parcel, to be read by a person."""
    files = [f"{file['bytes']:>9}  {file['path']}" for file in found["files"]]
    return [*files, f"{found['bytes']:>9}  bytes in {len(files)} files, then: {found['command']}"]


def pack(space: Path, config: SweepConfig, options: dict[str, Any]) -> Parcel:
    """The parcel of a sweep: the files of our three packages, and `space` unless it ships with them."""
    files, shipped = {}, Path(str(search_spaces.__file__)).parent
    for package in (tune_app, search_spaces, trainables):
        root = Path(str(package.__file__)).parent
        for path in sorted(root.rglob("*")):
            if path.suffix in SUFFIXES and path.is_file() and not path.is_symlink():
                files[f"{root.name}/{path.relative_to(root).as_posix()}"] = path
    name = space.name
    if space.resolve().parent != shipped.resolve():
        name = f"{SPACE_FOLDER}/{space.name}"
        files[name] = space
    command = ["python", "-m", "tune_app", "run", name, "--resume", config.name, "--address", "auto"]
    for option in ("profile", "data", "trials", "seed", "wandb"):
        if options[option] is not None:
            command += [f"--{option}", str(options[option])]
    for item in options["sets"]:
        command += ["--set", item]
    seconds = STOP_SECONDS + (0 if config.wandb.mode in ("offline", "disabled") else int(config.wandb.finish_timeout))
    return Parcel(files, f"{shlex.join(command)} --out {_out(options['out'])}", seconds)


def _out(folder: Path) -> str:
    """For the head's shell: a relative folder is one of its home, as the job's own folder goes with the job."""
    return shlex.quote(str(folder)) if folder.is_absolute() else f"~/{shlex.quote(folder.as_posix())}"


class Jobs:
    """The jobs of the cluster whose dashboard is at `address`. Raises InputError where it cannot be used."""

    def __init__(self, address: str | None, say: Say) -> None:
        self._say = say
        self.address = _dashboard(address)
        use_token()
        logging.disable(logging.INFO)  # Ray's client tells of its own doings
        if _is_open(self.address):
            say(f"warning: {self.address} takes jobs from anybody who reaches it; give the cluster a token "
                "(RAY_AUTH_MODE=token on its nodes)")  # fmt: skip
        try:
            from ray.job_submission import JobSubmissionClient
        except ImportError as error:
            raise InputError(
                f"submit needs Ray's job client ({error})", hint="pip install 'tune_app[cluster]'"
            ) from None
        with self._answering(), _no_other_address():
            self._client = JobSubmissionClient(self.address)
            theirs = self._client.get_version() and self._client._server_ray_version
        import ray

        if theirs != ray.__version__:
            raise InputError(
                f"--address {self.address}: the cluster runs Ray {theirs}, this is Ray {ray.__version__}",
                hint=f"pip install 'ray[default]=={theirs}' here, or start the cluster with {ray.__version__}",
            )

    def send(self, parcel: Parcel) -> str:
        """Start the job; its id."""
        with TemporaryDirectory(prefix="tune_app-parcel-") as folder, self._answering():
            for name, path in parcel.files.items():
                (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, Path(folder) / name)
            settings = {"RAY_JOB_STOP_WAIT_TIME_S": str(parcel.stop_seconds)}
            return str(
                self._client.submit_job(
                    entrypoint=parcel.command, runtime_env={"working_dir": folder, "env_vars": settings}
                )
            )

    def status(self, job: str) -> dict[str, Any]:
        """Where a job stands; `exit_code` is null until it has ended."""
        with self._answering():
            info = self._client.get_job_info(job)
        state = str(info.status.value)
        code = exit_code(state, info.driver_exit_code) if info.status.is_terminal() else None
        return {"job": job, "state": state, "exit_code": code}

    def logs(self, job: str) -> str:
        with self._answering():
            return str(self._client.get_job_logs(job)).expandtabs()

    def stop(self, job: str) -> bool:
        """Ask a job to end: its trials checkpoint first. False where it has ended already."""
        with self._answering():
            return bool(self._client.stop_job(job))

    def follow(self, job: str) -> dict[str, Any]:
        """Say what the job says until it ends; its last status. Raises TuneAppError where the cluster is lost."""
        from aiohttp import ClientError

        printed, heard = 0, time.monotonic()
        while True:
            try:
                printed = asyncio.run(self._tail(job, printed))
                found = self.status(job)
                heard = time.monotonic()
                if found["exit_code"] is not None:
                    return found
            except (ClientError, OSError, RuntimeError, InputError) as error:
                if time.monotonic() - heard > LOST_SECONDS:
                    raise TuneAppError(
                        f"{self.address} no longer answers: {_first(error)}",
                        hint=f"the job may go on; later: tune_app submit --logs {job} --address {self.address}",
                    ) from None
            time.sleep(LOOK_SECONDS)

    async def _tail(self, job: str, printed: int) -> int:
        """Say each new line; how many have been said in all."""
        line, number = "", 0
        async for chunk in self._client.tail_job_logs(job):
            *whole, line = (line + chunk).split("\n")
            for text in whole:
                number += 1
                if number > printed:
                    self._say(text.expandtabs())
        return max(printed, number)

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Turn what Ray's client raises into a sentence."""
        from ray.exceptions import AuthenticationError

        try:
            yield
        except AuthenticationError:
            raise InputError(
                f"--address {self.address}: the cluster does not take this token, or none was found",
                hint=f"put the cluster's own into {PLACES}",
            ) from None
        except (OSError, RuntimeError) as error:
            raise InputError(f"--address {self.address}: {_first(error)}") from None


def exit_code(state: str, code: int | None) -> int:
    """The exit code of a job that has ended: its driver's own, where Ray knows one of ours."""
    if state == "SUCCEEDED":
        return 0
    if state == "STOPPED":
        return 130
    return code if code in (1, 2, 130) else 1


def _dashboard(address: str | None) -> str:
    given = address or os.environ.get("RAY_API_SERVER_ADDRESS") or DASHBOARD
    if given == "auto" or given.startswith("ray://"):
        raise InputError(
            f"--address {given}: submit talks to the cluster's dashboard", hint="give --address http://HEAD:8265"
        )
    return given.rstrip("/") if given.startswith(("http://", "https://")) else f"http://{given}"


def _is_open(address: str) -> bool:
    """Whether the dashboard answers without a token. Raises InputError where none answers."""
    try:
        with urllib.request.urlopen(f"{address}/api/version", timeout=ANSWER_SECONDS):  # noqa: S310 (http or https)
            return True
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            return False
        raise InputError(f"--address {address}: no Ray dashboard answers there ({error})") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", error)
        raise InputError(
            f"--address {address}: nothing answers there ({why})",
            hint="it is the dashboard's address, http://HEAD:8265; from afar: ssh -L 8265:127.0.0.1:8265 HEAD",
        ) from None


@contextmanager
def _no_other_address() -> Iterator[None]:
    """Ray's client takes these before what it is given."""
    kept = {name: os.environ.pop(name) for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS") if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def _first(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
