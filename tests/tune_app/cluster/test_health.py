"""The watch over Ray. Deaths of real heads and nodes are in tests/cluster/test_lost_head.py."""

from __future__ import annotations

import subprocess
import sys

WATCH = """
import sys
from tune_app.cluster.health import DeathWatch, dead_process
assert dead_process() == ""
assert "ray" not in sys.modules
watch = DeathWatch("resume it")
watch.last_words = lambda: print("the end is logged")
watch._leave("Ray died")
"""


def test_the_watch_imports_no_ray_beside_the_main_thread_and_logs_the_end_before_it_leaves() -> None:
    done = subprocess.run([sys.executable, "-c", WATCH], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "error: Ray died\n  hint: resume it\n")
    assert done.stdout == "the end is logged\n"
