"""Each fault of a machine is a row that names it and the remedy. No row shows the key."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import resource
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner

from tune_app.cli import cli
from tune_app.cluster import limits, scratch
from tune_app.commands import doctor
from tune_app.commands.doctor import GIB, Row, can_run, doctor_lines, examine
from tune_app.trackers.wandb_key import wandb_account

KEY = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use an empty home and cache, so that nothing of this machine is picked up."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TUNE_APP_CACHE", str(tmp_path / "cache"))
    return tmp_path


def look(name: str, *, out: Path = Path("experiments"), address: str | None = None, **environment: str) -> Row:
    """Return the row of that name."""
    return next(row for row in examine(out, address, environment) if row.name == name)


def test_this_machine_can_run_a_sweep_and_every_row_that_is_not_ok_says_what_to_do(home: Path) -> None:
    rows = examine(home / "new", None, {})
    assert can_run(rows)
    assert all(row.todo for row in rows if row.state != "ok")
    assert doctor_lines(rows)[-1] == "a sweep can run here"
    assert not (home / "new").exists()


def test_a_missing_torch_or_ray_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setitem(sys.modules, "torch", None)
    assert look("torch").state == "bad"
    monkeypatch.setattr(doctor, "version", lambda _: "2.51.0")
    assert look("ray") == Row("ray", "bad", "2.51.0", "pip install 'ray[tune]>=2.60'")
    monkeypatch.setattr(doctor, "version", nothing)
    rows = examine(Path("experiments"), None, {})
    assert not can_run(rows)
    assert doctor_lines(rows)[-1].startswith("no sweep can run here yet: torch, ray")


def test_a_gpu_is_named_with_its_memory_and_one_that_torch_cannot_use_is_a_warning(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    (home / "driver/nvidia/gpus/0").mkdir(parents=True)
    (home / "driver/nvidia/version").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul\n")
    monkeypatch.setattr(doctor, "PROC", home)
    monkeypatch.setattr(doctor, "local_gpus", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert look("cuda").state == "warning"
    assert "580.65.06" in look("cuda").found

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda _: SimpleNamespace(name="H100", total_memory=80 * GIB)
    )
    assert look("cuda").state == "ok"
    assert look("gpus").found == "H100 (80 GiB)"


def test_a_folder_that_cannot_be_written_is_bad_and_one_of_a_cluster_must_be_shared() -> None:
    assert look("experiments folder", out=Path("/proc/nowhere")).state == "bad"
    assert "every node" in look("experiments folder", address="auto").todo
    assert "share" in look("experiments folder").found


@pytest.mark.parametrize(("free", "state"), [(0.5, "bad"), (5, "warning"), (50, "ok")])
def test_a_full_disk_is_bad(free: float, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free * GIB))
    assert look("disk").state == state


def test_little_memory_is_a_warning(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable: 9000000 kB\n")
    (home / "memory.max").write_text(str(3 * GIB))
    (home / "memory.current").write_text(str(2 * GIB))
    monkeypatch.setattr(doctor, "PROC", home)
    monkeypatch.setattr(doctor, "CGROUP", home)
    assert "1.0 GiB" in look("cpus and memory").found
    assert look("cpus and memory").state == "warning"


def test_shared_memory_that_ray_cannot_use_is_a_warning(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert look("/dev/shm").state == "ok"
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=64 * 2**20))
        assert (look("/dev/shm").state, look("/dev/shm").found[:29]) == ("warning", "/dev/shm has only 64 MiB free")
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, _: path != limits.SHM)
        assert (look("/dev/shm").state, look("/dev/shm").found[:26]) == ("warning", "/dev/shm cannot be written")
    monkeypatch.setattr(limits, "SHM", home / "shm")
    assert (look("/dev/shm").state, "is missing" in look("/dev/shm").found) == ("warning", True)


def test_fewer_open_files_than_ray_needs_are_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "cpus", lambda: 4)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (32, 95))
    row = look("open files")
    assert (row.state, row.found[:10]) == ("bad", "at most 95")
    assert "ulimit" in row.todo
    monkeypatch.setattr(resource, "getrlimit", lambda _: (32, 96))
    assert look("open files").state == "ok", "Ray raises the soft limit"
    monkeypatch.setattr(resource, "getrlimit", lambda _: (32, resource.RLIM_INFINITY))
    assert look("open files").found.startswith("no limit")


def test_folders_without_file_locks_are_warnings_that_say_what_happens_then(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = ("locks in out", "locks in cache", "locks in tmp")
    assert [look(name, out=home / "new").state for name in rows] == ["ok"] * 3
    assert not (home / "new").exists()

    def refuse(_file: object, _operation: int) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    found = [look(name, out=home / "new") for name in rows]
    assert [row.state for row in found] == ["warning"] * 3
    assert "a lock there is a file that names its holder" in found[0].found
    assert "Ray's files go to another folder" in found[2].found
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "not checked" in look("locks in out").found


def test_a_machine_without_a_temporary_folder_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    monkeypatch.setattr(doctor, "wandb_account", lambda _: none())  # wandb fails already when it is imported
    monkeypatch.setattr(scratch, "SHORT_FOLDERS", ("/proc/self",))
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert look("ray sockets").found == "no folder for Ray's sockets: /proc/self cannot be written"
    assert "TMPDIR" in look("wandb key").todo
    assert look("locks in tmp").state == "warning"


def test_a_cifar10_in_the_cache_is_found(home: Path) -> None:
    assert look("data").state == "warning"
    (home / "cache/cifar10/cifar-10-batches-py").mkdir(parents=True)
    assert look("data") == Row("data", "ok", f"shapes, digits, cifar10 in {home / 'cache/cifar10'}")


def test_the_key_is_looked_for_where_wandb_does_and_never_shown(home: Path) -> None:
    netrc = home / ".netrc"
    host = wandb_account({}).host
    assert look("wandb key") == Row(
        "wandb key", "warning", f"none for {host}", "`wandb login`, or `tune_app sync` later"
    )
    assert look("wandb key", WANDB_API_KEY=KEY) == Row("wandb key", "ok", f"for {host} in WANDB_API_KEY")
    netrc.write_text(f"machine {urlsplit(host).netloc}\n  login user\n  password {KEY}\n")
    assert look("wandb key") == Row("wandb key", "ok", f"for {host} in {netrc}")
    other = look("wandb key", WANDB_BASE_URL="https://wandb.example")
    assert (other.state, other.todo[:42]) == ("warning", "`wandb login --host https://wandb.example`")
    netrc.write_text(f"machine {urlsplit(host).netloc} login user {KEY}\n")  # the parser quotes the unexpected word
    assert look("wandb key").state == "warning"
    assert KEY not in repr(look("wandb key"))
    assert "W&B is offline here" in look("wandb key", WANDB_MODE="dryrun").found


def test_a_stale_ray_address_is_a_warning_because_run_does_not_use_it(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        stale = f"127.0.0.1:{server.getsockname()[1]}"
    row = look("ray address", RAY_ADDRESS=stale)
    assert row.state == "warning"
    assert "a sweep without --address does not need it" in row.found
    assert look("ray address", address=stale, RAY_ADDRESS=stale).state == "bad"


def test_an_address_where_nothing_answers_is_bad(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert look("ray address", address=f"127.0.0.1:{port}").state == "ok"
        assert look("ray address", RAY_ADDRESS=f"ray://127.0.0.1:{port}").state == "ok"
        (home / "ray").mkdir()
        (home / "ray/ray_current_cluster").write_text(f"127.0.0.1:{port}")
        assert look("ray address", address="auto", RAY_TMPDIR=str(home)).state == "ok"
    assert look("ray address", address=f"127.0.0.1:{port}").state == "bad"
    assert look("ray address", address="127.0.0.1:port").state == "bad"
    assert look("ray address", address="auto", RAY_TMPDIR=str(home / "empty")).state == "bad"


@contextmanager
def dashboard(status: int) -> Iterator[str]:
    """Yield a server that answers requests without a token with `status`."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(500 if self.headers["Authorization"] else status)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_cluster_that_lets_anybody_in_is_a_warning_and_a_token_that_is_missing_is_bad(home: Path) -> None:
    with dashboard(200) as address:
        assert "anyone" in look("ray token", address=address, RAY_AUTH_TOKEN=KEY).todo
    with dashboard(401) as address:
        assert look("ray token", address=address).state == "bad"
        held = look("ray token", address=address, RAY_AUTH_TOKEN=KEY, RAY_AUTH_MODE="token")
        assert held == Row("ray token", "ok", "asked for; this machine has one (RAY_AUTH_TOKEN)")
        (home / ".ray").mkdir()
        (home / ".ray/auth_token").write_text(KEY)
        assert look("ray token", address=address).state == "warning"  # Ray reads it only where RAY_AUTH_MODE says so
        assert look("ray token", address=address, RAY_AUTH_MODE="token").state == "ok"


def test_the_command_prints_one_document_and_its_exit_code_says_whether_a_sweep_can_run(folder: Path) -> None:
    environment = {"WANDB_API_KEY": KEY, "RAY_ADDRESS": ""}
    done = CliRunner().invoke(cli, ["doctor", "--json", "--out", str(folder / "new")], env=environment)
    assert done.exit_code == 0
    document = json.loads(done.stdout)
    assert document["can_run"] is True
    assert all(row.keys() == {"name", "state", "found", "todo"} for row in document["rows"])
    assert KEY not in done.output

    (folder / "file").touch()
    done = CliRunner().invoke(cli, ["doctor", "--out", str(folder / "file/below")], env=environment)
    assert done.exit_code == 1
    assert "bad      experiments folder" in done.stdout
    assert KEY not in done.output
    assert [path.name for path in folder.iterdir()] == ["file"]
