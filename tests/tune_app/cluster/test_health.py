"""The watch over Ray. Deaths of real heads and nodes are in tests/cluster/test_lost_head.py."""

from __future__ import annotations

import subprocess
import sys

WATCH = """
import sys
from tune_app.cluster.health import DeathWatch, dead_process
assert dead_process() == ""
assert "ray" not in sys.modules
DeathWatch("resume it")._leave("Ray died")
"""


def test_the_watch_does_not_import_ray_which_the_main_thread_may_be_importing() -> None:
    done = subprocess.run([sys.executable, "-c", WATCH], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "error: Ray died\n  hint: resume it\n")
