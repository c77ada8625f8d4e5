"""The CPUs that a process may use, by affinity and by a container's quota."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trainables import cpus as module
from trainables.cpus import cpus


@pytest.fixture
def cgroups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "CGROUPS", tmp_path)
    monkeypatch.setattr(module, "MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("quota", "usable"),
    [("max 100000", 64), ("200000 100000", 2), ("150000 100000", 1), ("20000 100000", 1), ("?", 64)],
)
def test_the_quota_of_a_container_limits_the_cpus(quota: str, usable: int, cgroups: Path) -> None:
    write(cgroups / "membership", "0::/\n")
    write(cgroups / "cpu.max", quota + "\n")
    assert cpus() == usable


def test_the_quota_of_an_outer_group_counts_too(cgroups: Path) -> None:
    write(cgroups / "membership", "0::/slurm/job_7\n")
    write(cgroups / "slurm/cpu.max", "400000 100000\n")
    write(cgroups / "slurm/job_7/cpu.max", "max 100000\n")
    assert cpus() == 4


@pytest.mark.parametrize(("quota", "usable"), [("-1", 64), ("300000", 3)])
def test_the_first_version_of_control_groups_is_read(quota: str, usable: int, cgroups: Path) -> None:
    write(cgroups / "membership", "4:memory:/docker/5f\n3:cpu,cpuacct:/docker/5f\n")
    write(cgroups / "cpu/docker/5f/cpu.cfs_quota_us", quota + "\n")
    write(cgroups / "cpu/docker/5f/cpu.cfs_period_us", "100000\n")
    assert cpus() == usable


def test_without_control_groups_the_affinity_counts(cgroups: Path) -> None:
    assert cpus() == 64
