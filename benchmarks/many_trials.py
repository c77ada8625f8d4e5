"""Run 5,000 Branin trials in one experiment and measure the driver's cost per trial and the time of a resume.

`python benchmarks/many_trials.py [--trials 5000]` prints milliseconds per trial at the beginning and at the end, the
driver's CPU time per trial and its peak memory, and the seconds from `resume` to its first new trial. CPU time, which
includes the start and the answer, is the figure to compare on a machine that does other work too.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from tune_app.experiment.events import Asked, Ended, Event
from tune_app.experiment.log import read

WINDOW = 250
"""Trials over which the cost of one is taken."""


class Usage(NamedTuple):
    """Resources that a process has used."""

    memory: float
    """Peak resident memory in MB."""
    cpu: float
    """Seconds of CPU time."""


def main() -> None:
    """Run the sweep, resume it with two more trials, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--sampler", default="tpe")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as out:
        sweep = ["branin_space.yaml", "--out", out, "--trials", str(options.trials)]
        sweep += ["--set", f"search.sampler={options.sampler}"]
        used = _run("run", *sweep)
        (experiment,) = Path(out).iterdir()
        events = read(experiment / "events.jsonl")
        ended = [_time(event) for event in events if isinstance(event, Ended)]
        first, last = (1000 * (part[-1] - part[0]) / (len(part) - 1) for part in (ended[:WINDOW], ended[-WINDOW:]))
        print(f"{len(ended)} trials in {ended[-1] - ended[0]:.0f} s, {len(events)} events")
        print(f"a trial: {first:.1f} ms at the beginning, {last:.1f} ms at the end, {last / first:.2f} times")
        print(f"driver: {1000 * used.cpu / len(ended):.1f} ms of CPU a trial, {used.memory:.0f} MB at most")
        began = time.time()
        used = _run("resume", str(experiment), "--trials", str(options.trials + 2))
        asked = [_time(event) for event in read(experiment / "events.jsonl") if isinstance(event, Asked)]
        print(f"resume: {asked[-2] - began:.1f} s to its first new trial, {used.memory:.0f} MB at most")


def _run(*arguments: str) -> Usage:
    """Run a command and return what its own process used, as read every half second."""
    command = [sys.executable, "-m", "tune_app", *arguments]
    used = Usage(0.0, 0.0)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            used = _usage(Path(f"/proc/{process.pid}"), used)
            time.sleep(0.5)
    assert process.wait() == 0
    return used


def _usage(process: Path, before: Usage) -> Usage:
    try:
        status, times = (process / "status").read_text(), (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return before
    peaks = [int(row.split()[1]) / 1024 for row in status.splitlines() if row.startswith("VmHWM")]  # a zombie has none
    cpu = (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")
    return Usage(max([before.memory, *peaks]), cpu)


def _time(event: Event) -> float:
    return datetime.fromisoformat(event.time).timestamp()


if __name__ == "__main__":
    main()
