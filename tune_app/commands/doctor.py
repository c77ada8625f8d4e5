"""Check what a sweep needs on this machine: one row for each thing, with what to do if it is missing."""

import os
import platform
import shutil
import socket
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from trainables.cache_folder import cache_folder
from trainables.cpus import cpus
from trainables.locks import has_locks
from tune_app.cluster.limits import SHM, check_open_files, files_needed, open_files, shared_memory_fault
from tune_app.cluster.scratch import socket_folder
from tune_app.cluster.this_machine import local_gpus
from tune_app.errors import InputError, first_line
from tune_app.experiment.out_folder import check_writable
from tune_app.trackers.wandb_key import login_command, wandb_account

GIB = 2**30
CONNECT_SECONDS = 5.0
FIRST_RAY = (2, 60)
PORTS = {"http": 8265, "https": 443, "ray": 10001}
PROC = Path("/proc")
CGROUP = Path("/sys/fs/cgroup")
State = Literal["ok", "warning", "bad"]


@dataclass(frozen=True)
class Row:
    """One thing that was checked. If it is `bad`, no sweep can run."""

    name: str
    state: State
    found: str
    todo: str = ""


def examine(out: Path, address: str | None, environment: Mapping[str, str]) -> list[Row]:
    """Return every row. The only network traffic goes to `address`, or else to $RAY_ADDRESS."""
    return [
        Row("python", "ok", f"{platform.python_version()} on {platform.platform(terse=True)}"),
        *_torch(),
        _ray(),
        *_rows_on_ray(address, environment),
        _folder(out, shared=address is not None),
        _disk(out),
        _data(),
        _wandb(environment),
        _memory(),
        _shared_memory(),
        _files(),
        _sockets(),
        *_locks(out),
    ]


def can_run(rows: list[Row]) -> bool:
    return all(row.state != "bad" for row in rows)


def doctor_lines(rows: list[Row]) -> list[str]:
    """Return the rows as text, with what to do below each one that needs it."""
    lines = []
    for row in rows:
        lines.append(f"{row.state:8} {row.name:18} {row.found}")
        if row.todo:
            lines.append(f"{'':27} -> {row.todo}")
    bad = [row.name for row in rows if row.state == "bad"]
    return [
        *lines,
        "",
        f"no sweep can run here yet: {', '.join(bad)}" if bad else "a sweep can run here",
    ]


def _torch() -> Iterator[Row]:
    try:
        with warnings.catch_warnings():  # torch warns about an old driver, which the row below reports
            warnings.simplefilter("ignore")
            import torch

            usable = torch.cuda.is_available()
    except (ImportError, OSError) as error:
        yield Row("torch", "bad", f"cannot be imported ({error})", "pip install -c constraints.txt -e .")
        return
    yield Row("torch", "ok", torch.__version__)
    driver, seen = _driver(), local_gpus()
    built = f"torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "torch is built without CUDA"
    if seen and not usable:
        todo = "install the torch of your CUDA, or a newer driver; until then --profile laptop runs on CPUs"
        yield Row("cuda", "warning", f"{built}, driver {driver}, but torch cannot use it", todo)
    else:
        yield Row("cuda", "ok", f"{built}, driver {driver}")
    found = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count() if usable else 0)]
    gpus = ", ".join(f"{gpu.name} ({gpu.total_memory / GIB:.0f} GiB)" for gpu in found)
    yield Row("gpus", "ok", gpus or "none: `run` uses the profile laptop")


def _driver() -> str:
    with suppress(OSError):
        words = (PROC / "driver/nvidia/version").read_text().split()
        return next((word for word in words if word[:1].isdigit() and "." in word), "unknown")
    return "none"


def _ray() -> Row:
    try:
        installed = version("ray")
    except PackageNotFoundError:
        return Row("ray", "bad", "not installed", "pip install -c constraints.txt -e .")
    if tuple(int(part) for part in installed.split(".")[:2] if part.isdigit()) < FIRST_RAY:
        return Row("ray", "bad", installed, f"pip install 'ray[tune]>={'.'.join(map(str, FIRST_RAY))}'")
    return Row("ray", "ok", installed)


def _rows_on_ray(address: str | None, environment: Mapping[str, str]) -> Iterator[Row]:
    """Yield rows on the cluster at `address`, or else on $RAY_ADDRESS, which `run` does not use by itself."""
    unused = environment.get("RAY_ADDRESS") if address is None else None
    for row in _cluster(unused or address, environment):
        if unused and row.state == "bad":
            found = f"{row.found}; a sweep without --address does not need it"
            row = replace(row, state="warning", found=found, todo=f"{row.todo}, or unset RAY_ADDRESS")
        yield row


def _cluster(address: str | None, environment: Mapping[str, str]) -> Iterator[Row]:
    """Yield rows on the cluster at `address`: does it answer, and does it need a token?"""
    if address is None:
        yield Row("ray address", "ok", "none given: a sweep starts a private Ray on loopback")
        yield Row("ray token", "ok", "the private Ray makes its own token")
        return
    where = _current(environment) if address == "auto" else address
    if where is None:
        yield Row("ray address", "bad", "auto: no Ray runs on this machine", "ray start, or give --address HOST:PORT")
        return
    url = urlsplit(where if "//" in where else f"//{where}")
    try:
        host, port = url.hostname or "", url.port or PORTS.get(url.scheme, 6379)
        socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        yield Row("ray address", "bad", f"nothing answers there ({error})", "start the cluster, or correct --address")
        return
    yield Row("ray address", "ok", f"{host}:{port} answers")
    yield _token(url, host, port, environment)


def _current(environment: Mapping[str, str]) -> str | None:
    """Return the address that `auto` stands for: of the Ray started last on this machine."""
    with suppress(OSError):
        folder = Path(environment.get("RAY_TMPDIR") or tempfile.gettempdir())
        return (folder / "ray/ray_current_cluster").read_text().strip() or None
    return None


def _token(url: SplitResult, host: str, port: int, environment: Mapping[str, str]) -> Row:
    places = {
        "RAY_AUTH_TOKEN": bool(environment.get("RAY_AUTH_TOKEN")),
        "RAY_AUTH_TOKEN_PATH": Path(environment.get("RAY_AUTH_TOKEN_PATH", "")).is_file(),
        "~/.ray/auth_token": Path("~/.ray/auth_token").expanduser().is_file(),
    }
    held = next((place for place, there in places.items() if there), None)
    have = f"this machine has one ({held})" if held else "this machine has none"
    asks = _asks_for_token(url, host, port) if url.scheme in ("http", "https") else None
    asked = "asked for; " if asks else ""
    if asks is False:
        todo = "anyone who can reach it can run code on it: restart it with RAY_AUTH_MODE=token"
        return Row("ray token", "warning", "the cluster needs none", todo)
    if held is None and (asks or environment.get("RAY_AUTH_MODE") == "token"):
        todo = "copy ~/.ray/auth_token from the head, or name its file in RAY_AUTH_TOKEN_PATH"
        return Row("ray token", "bad", f"{asked}{have}", todo)
    if environment.get("RAY_AUTH_MODE") != "token":
        todo = "export RAY_AUTH_MODE=token, as on every node"
        return Row("ray token", "warning", f"{asked}{have}; RAY_AUTH_MODE is not `token` here", todo)
    return Row("ray token", "ok", f"{asked}{have}")


def _asks_for_token(url: SplitResult, host: str, port: int) -> bool | None:
    """Return True if the dashboard requires a token, False if not, None if nothing there is a dashboard."""
    kind = HTTPSConnection if url.scheme == "https" else HTTPConnection
    with closing(kind(host, port, timeout=CONNECT_SECONDS)) as connection, suppress(OSError, HTTPException):
        connection.request("GET", "/api/version")
        return {200: False, 401: True, 403: True}.get(connection.getresponse().status)
    return None


def _folder(out: Path, *, shared: bool) -> Row:
    todo = "every node of the cluster must see this folder at this path" if shared else ""
    try:
        check_writable(out)
    except InputError as error:
        return Row("experiments folder", "bad", str(error), error.hint or "")
    alone = "" if shared else "; on a cluster all nodes must share it"
    return Row("experiments folder", "ok", f"{out.absolute()} is writable{alone}", todo)


def _disk(out: Path) -> Row:
    free = shutil.disk_usage(_existing(out)).free / GIB
    state: State = "bad" if free < 1 else "warning" if free < 10 else "ok"
    return Row("disk", state, f"{free:.1f} GiB free", "" if state == "ok" else "free space, or choose another --out")


def _sockets() -> Row:
    try:
        return Row("ray sockets", "ok", f"in {socket_folder()}")
    except InputError as error:
        return Row("ray sockets", "bad", str(error), error.hint or "")


def _data() -> Row:
    from trainables.contract import DataError

    try:
        folder = cache_folder() / "cifar10"
    except (ImportError, OSError, DataError) as error:
        return Row(
            "data", "warning", f"shapes, digits; no folder for downloads ({error})", "set TUNE_APP_CACHE to a folder"
        )
    if any(folder.glob("cifar-10-*")):
        return Row("data", "ok", f"shapes, digits, cifar10 in {folder}")
    todo = "the first sweep with cifar10 downloads it (170 MB); without a network, --data shapes, digits or folder:DIR"
    return Row("data", "warning", f"shapes, digits; no cifar10 in {folder}", todo)


def _wandb(environment: Mapping[str, str]) -> Row:
    try:
        account = wandb_account(environment)
    except OSError as error:  # wandb needs a temporary folder already when it is imported
        todo = "set TMPDIR to a folder that can be written"
        return Row("wandb key", "warning", f"wandb cannot be imported ({first_line(error)})", todo)
    if account.key_in:
        return Row("wandb key", "ok", f"for {account.host} in {account.key_in}")
    if account.mode != "online":
        return Row("wandb key", "ok", f"not needed: W&B is {account.mode} here")
    todo = f"`{login_command(account.host)}`, or `tune_app sync` later"
    return Row("wandb key", "warning", f"none for {account.host}", todo)


def _memory() -> Row:
    try:
        lines = (PROC / "meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return Row("cpus and memory", "ok", f"{cpus()} CPUs; memory unknown on this system")
    with suppress(OSError, ValueError):  # the container's limit; `max` means none
        limit = int((CGROUP / "memory.max").read_text())
        free = min(free, limit - int((CGROUP / "memory.current").read_text()))
    found = f"{cpus()} CPUs, {free / GIB:.1f} GiB free"
    if free < 2 * GIB:
        return Row("cpus and memory", "warning", found, "a trial needs 1 GiB or more: free memory, or run fewer")
    return Row("cpus and memory", "ok", found)


def _shared_memory() -> Row:
    if fault := shared_memory_fault():
        found = f"{fault}; a sweep then shares its data through files in the temporary folder, which is slower"
        return Row(str(SHM), "warning", found, "give the container --shm-size=4g, or mount a tmpfs there")
    try:
        return Row(str(SHM), "ok", f"{shutil.disk_usage(SHM).free / GIB:.1f} GiB free")
    except OSError:
        return Row(str(SHM), "ok", "this system has none")


def _locks(out: Path) -> Iterator[Row]:
    """Yield a row on the file locks of each folder in which sweeps wait for each other."""
    waits = "a lock there is a file that names its holder; if another machine dies with it, remove that file"
    moves = "Ray's files go to another folder, see the row on ray sockets"
    places = [("out", _existing(out), waits), ("cache", _cache(), waits), ("tmp", _temporary(), moves)]
    for name, folder, without in places:
        locks = None
        with suppress(OSError):
            locks = has_locks(folder) if folder and os.access(folder, os.W_OK | os.X_OK) else None
        if locks is None:
            yield Row(f"locks in {name}", "warning", "not checked, because the folder cannot be written", "see its row")
        elif locks:
            yield Row(f"locks in {name}", "ok", f"{folder} has file locks")
        else:
            todo = "use a local folder or a mount with locks (NFS 4), if there is one"
            yield Row(f"locks in {name}", "warning", f"{folder} has no flock: {without}", todo)


def _existing(folder: Path) -> Path:
    return next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())


def _cache() -> Path | None:
    from trainables.contract import DataError

    try:
        return cache_folder()
    except (OSError, DataError):
        return None


def _temporary() -> Path | None:
    with suppress(OSError):
        return Path(tempfile.gettempdir())
    return None


def _files() -> Row:
    limit, needed = open_files(), files_needed()
    found = f"{'no limit' if limit is None else f'at most {limit}'}; a sweep on {cpus()} CPUs needs about {needed}"
    try:
        check_open_files()
    except InputError as error:
        return Row("open files", "bad", found, error.hint or "")
    return Row("open files", "ok", found)
