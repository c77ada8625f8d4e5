"""The limits of a machine are checked before Ray starts."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tune_app.cluster import limits
from tune_app.cluster.limits import check_open_files
from tune_app.errors import InputError

READ_ONLY_SHM = "mount -t tmpfs -o ro none /dev/shm"
NO_TEMPORARY = """
for folder in /tmp /var/tmp /dev/shm; do mount --bind $folder $folder; mount -o remount,bind,ro $folder; done
mount -t tmpfs none /mnt; cd /dev/shm
"""


def test_too_few_open_files_are_refused_with_the_number_that_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "cpus", lambda: 4)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (32, 96))
    check_open_files()
    monkeypatch.setattr(resource, "getrlimit", lambda _: (32, 95))
    with pytest.raises(InputError, match=r"may open 95 here, and a sweep on 4 CPUs needs 96$"):
        check_open_files()


def test_run_refuses_a_limit_that_ray_would_not_survive(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tune_app", "run", "branin_space.yaml"],
        cwd=folder, capture_output=True, text=True, timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)),
    )  # fmt: skip
    assert done.returncode == 2
    assert "error: open files: a process may open 64 here" in done.stderr
    assert not (folder / "experiments").exists()


def in_a_namespace(folder: Path, mounts: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m tune_app ARGS` where file systems are mounted otherwise. Skip the test if that is forbidden."""
    unshare = ["unshare", "--map-root-user", "--mount", "sh", "-ec"]
    if not shutil.which("unshare") or subprocess.run([*unshare, mounts], capture_output=True).returncode:
        pytest.skip("this system lets no test mount a file system")
    script = f'{mounts}\nexec "$0" -m tune_app "$@"'
    environment = {**os.environ, "TMPDIR": "/tmp"}
    return subprocess.run(
        [*unshare, script, sys.executable, *args], cwd=folder, env=environment, capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip


@pytest.mark.ray
def test_a_sweep_runs_although_shared_memory_cannot_be_written(folder: Path) -> None:
    short = ("--trials", "1", "--set", "scheduler.max_kimg=3", "--wandb", "disabled")
    done = in_a_namespace(folder, READ_ONLY_SHM, "run", "branin_space.yaml", *short)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "/dev/shm cannot be written: trials share their data through files in " in done.stdout


def test_a_machine_without_a_temporary_folder_is_refused_with_a_sentence(tmp_path: Path) -> None:
    done = in_a_namespace(tmp_path, NO_TEMPORARY, "run", "branin_space.yaml", "--out", "/mnt/out")
    assert done.returncode == 2
    assert "error: no folder for Ray's sockets: /tmp, /var/tmp, /dev/shm cannot be written\n" in done.stderr
