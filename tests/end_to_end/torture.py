"""A sweep whose processes are killed and resumed many times, and the checks on its result.

`python -m tests.end_to_end.torture` hits a sweep of 30 Branin trials: it kills 50 drivers, 20 workers, 5 raylets and 5
GCS processes, ends 5 process groups and stops 5 workers. With `--beta-vae` it hits a real Beta-VAE sweep less often. A
short version runs as a test.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from uuid import uuid4

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from tests.conftest import Entry, Sweep
from tune_app.driver.asha import RungBook
from tune_app.driver.study import STATES
from tune_app.driver.trust import trust_rule
from tune_app.experiment.folder import Experiment

MARK = "TUNE_APP_TORTURE"
BRANIN = ("branin_space.yaml", "--set", "failures.retries=100", "--set", "failures.trial_timeout=5")
EXIT_CODES = {-signal.SIGKILL: "killed", -signal.SIGTERM: "ended before it began", 130: "interrupted", 1: "Ray died"}
BETA_VAE = (
    "beta_vae_space.yaml",
    "--profile",
    "laptop",
    "--set",
    "failures.retries=100",
    "--set",
    "search.sampler=random",
)  # whose proposals do not hang on the order in which trials end


def torture(
    folder: Path, sweep: tuple[str, ...], kills: Mapping[str, int], *, seed: int = 0, longest: float = 3.0
) -> tuple[Sweep, Counter[str]]:
    """Run `sweep` in `folder` and hit its processes. Return the sweep and what was hit.

    `kills` counts the hits on driver, worker, raylet, gcs_server (SIGKILL), group (SIGTERM to the process group) and
    hung (SIGSTOP to a worker). A hit comes up to `longest` seconds after the first trial has started, every fifth one
    on a driver while it starts.
    """
    random, mark, hits = Random(seed), uuid4().hex, Counter[str]()
    command = [sys.executable, "-m", "tune_app", "run", *sweep, "--resume", "torture"]
    environment = {**os.environ, MARK: mark}
    while True:
        with tempfile.TemporaryFile() as said:
            driver = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
            )
            while driver.poll() is None and hits.total() < sum(kills.values()):
                hit = random.choices([*kills], [count - hits[kind] for kind, count in kills.items()])[0]
                if hit != "driver" or random.random() < 0.8:
                    _wait_for_workers(mark, driver)
                time.sleep(random.uniform(0, longest))
                if driver.poll() is None and _hit(hit, driver.pid, mark, random):
                    hits[hit] += 1
                if hit in ("driver", "group"):
                    break
            code = driver.wait(timeout=600)
            said.seek(0)
            output = said.read().decode()
        print(dict(hits), f"exit code {code}", flush=True)
        if code == 0:
            (experiment,) = (folder / "experiments").iterdir()
            wait_until_gone(mark)
            return Sweep(experiment), hits
        assert code in EXIT_CODES, output
        hints = ("resume with: python -m tune_app resume ", "run the same command again", "try again")
        assert code != 1 or any(hint in output for hint in hints), output


def _hit(kind: str, driver: int, mark: str, random: Random) -> bool:
    """Send the signal to a process of that kind. Return False if there is none now."""
    if kind == "group":
        os.killpg(driver, signal.SIGTERM)
        return True
    if kind in ("raylet", "gcs_server"):
        victims = [pid for pid in marked(mark) if _read(pid, "comm").strip() == kind.encode()]
    else:
        victims = [driver] if kind == "driver" else workers_of(mark)
    if victims:
        os.kill(random.choice(sorted(victims)), signal.SIGSTOP if kind == "hung" else signal.SIGKILL)
    return bool(victims)


def check(sweep: Sweep, trials: int) -> None:
    """Raise AssertionError unless `trials` ended once each, no report is repeated, and all files agree with the log."""
    experiment = Experiment(sweep.folder)
    config, records = experiment.config(), experiment.records()
    metric, scheduler = config.metric.name, config.scheduler
    assert [record.id for record in records] == [f"{number:04d}" for number in range(trials)]
    assert Counter(event["trial"] for event in sweep.of("ended")) == Counter(record.id for record in records)
    step = config.evaluation.report_kimg
    for record in records:
        reached = [report.kimg for report in record.reports]
        marks = {*(step * (i + 1) for i in range(int(scheduler.max_kimg / step))), *config.rungs}
        assert reached == sorted(mark for mark in marks if mark <= reached[-1]), f"{record.id} reported at {reached}"

    book = RungBook(config.rungs, scheduler.reduction_factor, trust_rule(scheduler.trust))
    sources = {record.id: record.source for record in records}
    for event in sweep.of("reported"):
        if event["rung"]:
            baseline = sources[event["trial"]] == "baseline"
            verdict = book.report(event["trial"], event["kimg"], event["metrics"][metric], protected=baseline)
            assert (verdict.decision, verdict.trusted) == (event["decision"], event.get("trusted")), event

    storage = JournalStorage(JournalFileBackend(str(experiment.study)))
    told = optuna.load_study(study_name=config.name, storage=storage).trials
    assert len(told) == trials
    for record, trial in zip(records, told, strict=True):
        assert trial.state is STATES[record.state]
        assert trial.intermediate_values == {round(r.kimg * 1000): r.metrics[metric] for r in record.rungs}
        assert trial.params.items() <= {**record.params, **record.rungs[-1].sampling}.items()
    assert sweep.summary["trials"] == dict(Counter(record.state for record in records))


def compare(sweep: Sweep, unbroken: Sweep) -> int:
    """Raise AssertionError if two sweeps differ in a metric of a common report. Return the number of such reports."""
    asked = {event["trial"]: event["params"] for event in unbroken.of("asked")}
    assert {event["trial"]: event["params"] for event in sweep.of("asked")} == asked
    known = {(event["trial"], event["kimg"]): _numbers(event) for event in unbroken.of("reported")}
    both = [event for event in sweep.of("reported") if (event["trial"], event["kimg"]) in known]
    for event in both:
        assert _numbers(event) == known[event["trial"], event["kimg"]], event
    return len(both)


def _numbers(event: Entry) -> dict[str, float]:
    return {name: value for name, value in event["metrics"].items() if not name.endswith("seconds")}


def workers_of(mark: str) -> list[int]:
    """Return the processes that train trials for the driver with `mark` in its environment."""
    return [pid for pid in marked(mark) if b"ray::RayWorker" in _read(pid, "cmdline")]


def marked(mark: str) -> Iterator[int]:
    """Return the processes with `mark` in their environment."""
    for process in Path("/proc").glob("[0-9]*"):
        if f"{MARK}={mark}".encode() in _read(int(process.name), "environ"):
            yield int(process.name)


def _read(pid: int, what: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{what}").read_bytes()
    except OSError:
        return b""


def _wait_for_workers(mark: str, driver: subprocess.Popen[bytes]) -> None:
    while driver.poll() is None and not workers_of(mark):
        time.sleep(0.1)


def wait_until_gone(mark: str, *, seconds: float = 30) -> None:
    """Raise AssertionError if a process with `mark` in its environment is still alive after `seconds`."""
    end = time.monotonic() + seconds
    while left := [(pid, _read(pid, "cmdline")[:80]) for pid in marked(mark)]:
        assert time.monotonic() < end, f"still running: {left}"
        time.sleep(0.2)


def main() -> None:
    """Torture a sweep in a new folder and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--beta-vae", action="store_true", help="a Beta-VAE sweep, 8 drivers and 4 workers killed")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        if options.beta_vae:
            (Path(folder) / "unbroken").mkdir()
            unbroken, _ = torture(Path(folder) / "unbroken", BETA_VAE, {})
            sweep, hits = torture(Path(folder), BETA_VAE, {"driver": 8, "worker": 4}, seed=options.seed, longest=20)
            check(sweep, trials=14)
            print(f"{compare(sweep, unbroken)} reports have the numbers of an unbroken sweep")
        else:
            command = (*BRANIN, "--trials", "30", "--set", "fixed.step_seconds=0.3")
            kills = {"driver": 50, "worker": 20, "raylet": 5, "gcs_server": 5, "group": 5, "hung": 5}
            sweep, hits = torture(Path(folder), command, kills, seed=options.seed)
            check(sweep, trials=30)
        ended, lost = Counter(event["state"] for event in sweep.of("ended")), len(sweep.of("failed"))
        print(f"hit in {time.monotonic() - began:.0f} s: {dict(hits)}; "
              f"{dict(ended)}, {lost} failures retried, {len(sweep.of('reported'))} reports; all agrees")  # fmt: skip


if __name__ == "__main__":
    main()
