"""The CPUs that a process may use, without torch and ray."""

import os
from collections.abc import Iterator
from contextlib import suppress
from math import inf
from pathlib import Path

CGROUPS, MEMBERSHIP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def cpus() -> int:
    """Return the number of CPUs that this process may use: the smaller of its affinity and its container's quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min([allowed, *_quotas()])))


def _quotas() -> Iterator[float]:
    """Yield the CPU quota of each control group around this process (cgroup v2 and v1)."""
    lines = []
    with suppress(OSError):
        lines = MEMBERSHIP.read_text().splitlines()
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = CGROUPS / "cpu" if controllers else CGROUPS
        for group in (root / path.strip("/"), *(root / path.strip("/")).parents):
            if group.is_relative_to(root):
                yield _quota(group)


def _quota(group: Path) -> float:
    with suppress(OSError, ValueError):
        quota, period = (group / "cpu.max").read_text().split()
        return inf if quota == "max" else int(quota) / int(period)
    with suppress(OSError, ValueError):
        quota = (group / "cpu.cfs_quota_us").read_text()
        return inf if int(quota) < 0 else int(quota) / int((group / "cpu.cfs_period_us").read_text())
    return inf
