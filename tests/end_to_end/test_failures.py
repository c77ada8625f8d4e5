"""Sweeps with failing trials, dying workers, exhausted memory and full disks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import Cli, Sweep
from tests.end_to_end.torture import check
from tune_app.experiment.folder import Experiment
from tune_app.experiment.out_folder import newest

pytestmark = pytest.mark.ray
FAULTS = Path(__file__).parents[1] / "faults"
Faulty = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def faulty(cli: Cli, folder: Path) -> Faulty:
    """Run `python -m tune_app ARGS` with `faults` in its workers."""

    def run(*args: str, faults: str, **environment: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join(filter(None, [str(FAULTS), os.environ.get("PYTHONPATH")]))
        marked = {"PYTHONPATH": path, "TUNE_APP_FAULTS": faults, "TUNE_APP_FAULTS_ONCE": str(folder), **environment}
        return cli(*args, env=marked)

    return run


def the_sweep(folder: Path) -> Sweep:
    found = newest(folder / "experiments")
    assert found is not None
    return Sweep(found.folder)


def test_failing_trials_are_retried_and_then_left_and_the_sweep_goes_on(faulty: Faulty, folder: Path) -> None:
    done = faulty("run", "branin_space.yaml", "--trials", "8", faults="1:error,2:die,3:nan")
    assert done.returncode == 0, done.stdout + done.stderr
    sweep = the_sweep(folder)
    records = {record.id: record for record in Experiment(sweep.folder).records()}

    assert [(f.kind, f.retry) for f in records["0001"].failures] == [("error", True)] * 2 + [("error", False)]
    assert (records["0001"].state, records["0001"].reason) == ("failed", "error")
    assert records["0001"].kimg == 1, "it reported once, and went on from there"
    traceback = (sweep.folder / "trials/0001/error.txt").read_text()
    assert "ValueError: a fault of this trial's own" in traceback
    assert "Traceback" not in done.stdout + done.stderr
    printed = (sweep.folder / "trials/0001/worker.log").read_text()
    assert set(printed.split("\n")) == {"trial 1 prints before it fails", ""}
    log = (sweep.folder / "driver.log").read_text()
    assert "+00:00 starting Ray on this machine\n" in log
    assert re.search(r"^20\S+ \[\S+\] 0001 failed \(error\): ValueError", log, re.MULTILINE)

    assert [(f.kind, f.retry) for f in records["0002"].failures] == [("worker_lost", True)]
    assert records["0002"].state in ("completed", "stopped")

    assert [(f.kind, f.retry) for f in records["0003"].failures] == [("non_finite", False)]
    assert (records["0003"].state, records["0003"].reason) == ("failed", "non_finite")
    assert all(value is None or value == value for r in records["0003"].reports for value in r.metrics.values())

    best = sweep.summary["best"]
    assert best["trial"] not in ("0001", "0003")
    assert sum(record.state != "failed" for record in records.values()) == 6
    assert "0001 failed (error): ValueError: a fault of this trial's own in two lines; trying again" in done.stdout


def test_a_sweep_of_failures_ends_with_1_and_the_first_error(faulty: Faulty) -> None:
    done = faulty("run", "branin_space.yaml", "--trials", "2", "--set", "failures.retries=0", faults="*:error")
    assert done.returncode == 1
    assert (
        "first failure: trial 0000: ValueError: a fault of this trial's own in two lines "
        "(see trials/0000/error.txt, trials/0000/worker.log, driver.log)" in done.stdout
    )
    assert "Traceback" not in done.stdout + done.stderr


def test_a_worker_that_is_ended_for_lack_of_memory_fails_its_trial(faulty: Faulty, folder: Path) -> None:
    few = ("--trials", "1", "--set", "failures.retries=1", "--set", "fixed.step_seconds=0.5")
    done = faulty("run", "branin_space.yaml", *few, faults="", RAY_memory_usage_threshold="0.001")
    assert done.returncode == 1
    said = "0000 failed (out_of_memory): the machine ran out of memory and Ray ended the worker"
    assert [line[7:] for line in done.stdout.splitlines() if said in line] == [f"{said}; trying again", said]
    assert "branin: failed; 1 failed" in done.stdout
    assert "bug" not in done.stderr
    (error,) = folder.glob("experiments/*/trials/0000/error.txt")
    assert error.read_text().count("\n") == 1, "Ray's own text shows the command lines of all processes"


def test_out_of_gpu_memory_is_tried_again_with_twice_the_share_and_a_lost_worker_after_progress_too(
    faulty: Faulty, folder: Path
) -> None:
    one_gpu = {"TUNE_APP_GPUS": "1"}
    few = ("--trials", "3", "--set", "resources.gpu=0.25", "--set", "failures.retries=0")
    few += ("--set", "failures.checkpoint_kimg=1")  # else a GPU trial writes one every 30 s
    done = faulty("run", "branin_space.yaml", *few, faults="1:gpu_memory,2:die", **one_gpu)
    assert done.returncode == 0, done.stdout + done.stderr
    sweep = the_sweep(folder)
    failures = [(event["trial"], event["kind"], event["retry"], event.get("gpu")) for event in sweep.of("failed")]
    grown = [("0001", "out_of_memory", True, share) for share in (0.5, 1.0)]
    assert sorted(failures) == [*grown, ("0002", "worker_lost", True, None)]
    assert "trying again with 0.5 of a GPU" in done.stdout
    assert {event["state"] for event in sweep.of("ended")} <= {"completed", "stopped"}


def test_a_disk_that_takes_no_more_breaks_off_blames_no_trial_and_keeps_what_it_has(
    faulty: Faulty, cli: Cli, folder: Path
) -> None:
    few = ("--trials", "4", "--set", "fixed.step_seconds=0.1")
    done = faulty("run", "branin_space.yaml", *few, faults="*:disk_full")  # where checkpoints go
    assert done.returncode == 1
    assert "the disk is full" in done.stderr
    assert "resume experiments" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    sweep = the_sweep(folder)
    assert sweep.summary["state"] == "interrupted"
    assert not sweep.of("failed")
    assert not sweep.of("ended")

    log = sweep.folder / "events.jsonl"  # and where the log goes, in the middle of a line yet to come
    resource = pytest.importorskip("resource")
    with driven(folder, "resume", "latest") as driver:
        assert driver.stdout is not None
        while "at 9 kimg" not in driver.stdout.readline():
            pass
        limit = log.stat().st_size + 700
        resource.prlimit(driver.pid, resource.RLIMIT_FSIZE, (limit, limit))
        output, errors = driver.communicate(timeout=60)
    assert driver.returncode == 1, output + errors
    assert "events.jsonl: the file would exceed the size allowed" in errors
    assert "Traceback" not in output + errors
    assert log.read_bytes().endswith(b"\n"), "half a line stayed behind"

    resumed = cli("resume", "latest")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    check(the_sweep(folder), trials=4)


@contextmanager
def driven(folder: Path, *args: str) -> Iterator[subprocess.Popen[str]]:
    """Run `python -m tune_app ARGS` in the background while the block runs."""
    with subprocess.Popen(
        [sys.executable, "-m", "tune_app", *args],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        yield process
        process.kill()


def test_an_experiment_folder_that_goes_away_is_a_sentence(folder: Path) -> None:
    with driven(folder, "run", "branin_space.yaml", "--trials", "4", "--set", "fixed.step_seconds=0.1") as driver:
        assert driver.stdout is not None
        while "at 3 kimg" not in driver.stdout.readline():
            pass
        (experiment,) = (folder / "experiments").iterdir()
        experiment.rename(folder / "elsewhere")
        output, errors = driver.communicate(timeout=60)
    assert driver.returncode == 1, output + errors
    assert "the file or folder no longer exists" in errors
    assert "Traceback" not in output + errors
    assert not list(experiment.glob("trials/*")), "something was written where the experiment no longer is"
