"""The next driver removes what a killed driver left behind, but not what a live one uses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

HOLD = """
import subprocess, sys, time
from tune_app.cluster.scratch import scratch_folder
folder = scratch_folder()
(folder / "logs").mkdir()
with (folder / "logs/agent.out").open("w") as log:
    agent = subprocess.Popen(["sleep", "60"], stdout=log)
print(folder, agent.pid, flush=True)
time.sleep(60)
"""


def test_a_dead_drivers_folder_and_processes_go_and_a_live_ones_stay(tmp_path: Path) -> None:
    def hold() -> tuple[subprocess.Popen[str], Path, int]:
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLD], env={**os.environ, "TMPDIR": str(tmp_path)}, stdout=subprocess.PIPE, text=True
        )
        assert holder.stdout is not None
        folder, agent = holder.stdout.readline().split()
        return holder, Path(folder), int(agent)

    (dead, stale, orphan), (live, kept, agent) = hold(), hold()
    dead.send_signal(signal.SIGKILL)
    dead.communicate()
    assert stale.exists()
    assert _runs(orphan)

    third, new, last = hold()
    assert not stale.exists()
    assert not _runs(orphan)
    assert kept.exists()
    assert _runs(agent)
    assert new.stat().st_mode & 0o077 == 0, "others may read the token"
    for holder, pid in ((live, agent), (third, last)):
        holder.kill()
        holder.communicate()
        os.kill(pid, signal.SIGKILL)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] not in "ZX"
    except OSError:
        return False
