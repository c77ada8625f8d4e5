"""Run a sweep as a job of a Ray cluster: our own files are sent, and the job's output and exit code come back."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import JsonValue

from tune_app.cluster.ray import token_rejected, use_token
from tune_app.commands.parcel import Parcel, pack
from tune_app.errors import InputError, TuneAppError, first_line

__all__ = ["JobReport", "Jobs", "about_job", "pack", "send"]

DASHBOARD = "http://127.0.0.1:8265"
ANSWER_SECONDS, POLL_SECONDS, LOST_SECONDS = 5.0, 1.0, 60.0
WANDB_KEY = (
    "the W&B key is never sent: the head takes it from its own WANDB_API_KEY or ~/.netrc; without one, use `sync` later"
)


@dataclass(frozen=True)
class JobReport:
    """State of a job."""

    job: str
    state: str
    exit_code: int | None = None
    """None until the job has ended."""
    log: str | None = None

    def as_json(self) -> dict[str, JsonValue]:
        """Return the JSON document."""
        if self.state == "SENT":
            return {"job": self.job}
        report: dict[str, JsonValue] = {"job": self.job, "state": self.state, "exit_code": self.exit_code}
        return report if self.log is None else {**report, "log": self.log}

    def lines(self) -> list[str]:
        """Return the report as text."""
        if self.state == "SENT":
            return [self.job]
        return [f"job {self.job}: {self.state.lower()}"] if self.log is None else self.log.splitlines()


def about_job(jobs: Jobs, job: str, *, stop: bool, logs: bool) -> JobReport:
    """Return the state of a job, after stopping it if `stop` asks for that, with its output if `logs` does."""
    if stop:
        jobs.stop(job)
    report = jobs.status(job)
    return replace(report, log=jobs.logs(job)) if logs else report


def send(jobs: Jobs, parcel: Parcel, *, wait: bool) -> JobReport:
    """Start the parcel as a job, and with `wait` print its output until it ends."""
    if parcel.sends_to_wandb:
        jobs.say(WANDB_KEY)
    job = jobs.start(parcel)
    if not wait:
        return JobReport(job, "SENT")
    jobs.say(f"job {job}; Ctrl-C leaves it running, `submit --stop {job}` stops it")
    return jobs.follow(job)


class Jobs:
    """The jobs of the cluster whose dashboard is at `address`. Raises InputError if it cannot be used."""

    def __init__(self, address: str | None, say: Callable[[str], None]) -> None:
        self.say = say
        self.address = _dashboard(address)
        use_token()
        logging.disable(logging.INFO)  # Ray's client logs what it does
        if _is_open(self.address):
            say(
                f"warning: {self.address} accepts jobs from anyone who can reach it; give the cluster a token "
                "(RAY_AUTH_MODE=token on its nodes)"
            )
        try:
            from ray.job_submission import JobSubmissionClient
        except ImportError as error:
            raise InputError(
                f"submit needs Ray's job client ({error})", hint="pip install 'tune_app[cluster]'"
            ) from None
        with self._sentences(), _without_ray_addresses():
            self._client = JobSubmissionClient(self.address)
            theirs = self._client.get_version() and self._client._server_ray_version
        import ray

        if theirs != ray.__version__:
            raise InputError(
                f"--address {self.address}: the cluster runs Ray {theirs}, this is Ray {ray.__version__}",
                hint=f"pip install 'ray[default]=={theirs}' here, or start the cluster with {ray.__version__}",
            )

    def start(self, parcel: Parcel) -> str:
        """Start a job and return its id."""
        with TemporaryDirectory(prefix="tune_app-parcel-") as folder, self._sentences():
            for name, path in parcel.files.items():
                (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, Path(folder) / name)
            settings = {"RAY_JOB_STOP_WAIT_TIME_S": str(parcel.stop_seconds)}
            return str(
                self._client.submit_job(
                    entrypoint=parcel.command, runtime_env={"working_dir": folder, "env_vars": settings}
                )
            )

    def status(self, job: str) -> JobReport:
        """Return the state of a job."""
        with self._sentences():
            info = self._client.get_job_info(job)
        state = str(info.status.value)
        code = job_exit_code(state, info.driver_exit_code) if info.status.is_terminal() else None
        return JobReport(job, state, code)

    def logs(self, job: str) -> str:
        """Return the output of a job so far."""
        with self._sentences():
            return str(self._client.get_job_logs(job)).expandtabs()

    def stop(self, job: str) -> bool:
        """Ask a job to stop; its trials write checkpoints first. Return False if it has already ended."""
        with self._sentences():
            return bool(self._client.stop_job(job))

    def follow(self, job: str) -> JobReport:
        """Print a job's output until it ends, and return its last state. Raise TuneAppError if the cluster is lost."""
        from aiohttp import ClientError

        printed, answered = 0, time.monotonic()
        while True:
            try:
                printed = asyncio.run(self._print_new_lines(job, printed))
                report = self.status(job)
                answered = time.monotonic()
                if report.exit_code is not None:
                    return report
            except (ClientError, OSError, RuntimeError, InputError) as error:
                if time.monotonic() - answered > LOST_SECONDS:
                    raise TuneAppError(
                        f"{self.address} no longer answers: {first_line(error)}",
                        hint=f"the job may still run; later: tune_app submit --logs {job} --address {self.address}",
                    ) from None
            time.sleep(POLL_SECONDS)

    async def _print_new_lines(self, job: str, printed: int) -> int:
        """Print the lines after the first `printed` ones, and return how many have been printed in all."""
        line, number = "", 0
        async for chunk in self._client.tail_job_logs(job):
            *whole, line = (line + chunk).split("\n")
            for text in whole:
                number += 1
                if number > printed:
                    self.say(text.expandtabs())
        return max(printed, number)

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        """Turn the errors of Ray's client into InputError."""
        from ray.exceptions import AuthenticationError

        try:
            yield
        except AuthenticationError:
            raise token_rejected(self.address) from None
        except (OSError, RuntimeError) as error:
            raise InputError(f"--address {self.address}: {first_line(error)}") from None


def job_exit_code(state: str, code: int | None) -> int:
    """Return the exit code of a job that has ended: its driver's own if Ray knows it."""
    if state == "SUCCEEDED":
        return 0
    if state == "STOPPED":
        return 130
    return code if code in (1, 2, 130) else 1


def _dashboard(address: str | None) -> str:
    given = address or os.environ.get("RAY_API_SERVER_ADDRESS") or DASHBOARD
    if given == "auto" or given.startswith("ray://"):
        raise InputError(
            f"--address {given}: submit needs the address of the cluster's dashboard",
            hint="give --address http://HEAD:8265",
        )
    return given.rstrip("/") if given.startswith(("http://", "https://")) else f"http://{given}"


def _is_open(address: str) -> bool:
    """Return True if the dashboard answers without a token. Raise InputError if nothing answers."""
    try:
        with urllib.request.urlopen(f"{address}/api/version", timeout=ANSWER_SECONDS):  # noqa: S310 (http or https)
            return True
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            return False
        raise InputError(f"--address {address}: no Ray dashboard answers there ({error})") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise InputError(
            f"--address {address}: nothing answers there ({reason})",
            hint="use the dashboard's address, http://HEAD:8265. From outside the cluster, first run "
            "`ssh -L 8265:127.0.0.1:8265 HEAD` and use http://127.0.0.1:8265",
        ) from None


@contextmanager
def _without_ray_addresses() -> Iterator[None]:
    """Hide the variables that Ray's client prefers to the address it is given."""
    names = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")
    hidden = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)
