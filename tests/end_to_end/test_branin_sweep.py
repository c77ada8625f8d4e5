"""Whole Branin sweeps through the command line, on a real Ray and a real Optuna journal. The optimum is known."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import optuna
import psutil
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from tests.conftest import Cli, Sweep
from tests.end_to_end.torture import MARK, wait_until_gone
from tune_app.driver.asha import RungBook
from tune_app.driver.trust import Threshold

pytestmark = pytest.mark.ray
Branin = Callable[..., Sweep]
STATES = {"completed": TrialState.COMPLETE, "stopped": TrialState.PRUNED}


def test_a_sweep_asks_and_ends_every_trial_once_and_stops_as_its_book_says(branin: Branin) -> None:
    # one worker: in which order two finish decides what is proposed next, and so whether anybody is stopped at all
    sweep = branin(
        "--trials", "24", "--set", "scheduler.trust.trials=3", "--set", "scheduler.trust.error=null", *one_worker()
    )
    asked, ended = [e["trial"] for e in sweep.of("asked")], [e["trial"] for e in sweep.of("ended")]
    assert asked == [f"{number:04d}" for number in range(24)]
    assert sorted(ended) == asked
    assert sweep.summary["trials"].keys() == {"completed", "stopped"}

    book = RungBook([3, 9, 27], 3, Threshold(3, 0.3))
    for event in sweep.of("reported"):
        if event["rung"]:
            verdict = book.report(event["trial"], event["kimg"], event["metrics"]["value"])
            assert (event["decision"], event.get("trusted")) == verdict
    assert {e["kimg"] for e in sweep.of("reported") if not e["rung"]} == set(range(1, 27)) - {3, 9}

    finals = {e["trial"]: e["metrics"]["value"] for e in sweep.of("reported") if e["kimg"] == 27}
    best = min(finals, key=finals.__getitem__)
    assert (sweep.summary["best"]["trial"], sweep.summary["best"]["value"]) == (best, finals[best])
    assert_study_equals_log(sweep)


def assert_study_equals_log(sweep: Sweep) -> None:
    storage = JournalStorage(JournalFileBackend(str(sweep.folder / "study.journal")))
    study = optuna.load_study(study_name=None, storage=storage)
    params = {e["trial"]: e["params"] for e in sweep.of("asked")}
    ends = {e["trial"]: e for e in sweep.of("ended")}
    assert len(study.trials) == len(params)
    for trial in study.trials:
        name = f"{trial.number:04d}"
        assert trial.params == {key: params[name][key] for key in ("x1", "x2")}
        assert trial.state is STATES[ends[name]["state"]]
        rungs = {
            round(e["kimg"] * 1000): e["metrics"]["value"]
            for e in sweep.of("reported")
            if e["rung"] and e["trial"] == name
        }
        assert trial.intermediate_values == rungs
        assert trial.value == (ends[name]["metrics"]["value"] if trial.state is TrialState.COMPLETE else None)


def one_worker() -> list[str]:
    return ["--set", f"resources.cpu={len(os.sched_getaffinity(0))}"]


def test_forty_proposals_come_close_to_the_known_optimum(branin: Branin) -> None:
    few_reports = ("--set", "scheduler.type=none", "--set", "evaluation.report_kimg=3")
    sweep = branin("--trials", "40", *few_reports, *one_worker())
    assert sweep.summary["trials"] == {"completed": 40}
    for trial in range(40):
        marks = [event["kimg"] for event in sweep.of("reported") if int(event["trial"]) == trial]
        assert marks == list(range(3, 28, 3))
    assert 0.397887 <= sweep.summary["best"]["value"] < 1.0


def test_of_a_grid_json_is_one_document_status_and_best_agree_and_the_resolved_file_runs_again(
    cli: Cli, folder: Path
) -> None:
    grid = ("search.sampler=grid", "parameters.x1.step=5", "parameters.x2.step=15", "fixed.bias=5")
    sets = [word for setting in grid for word in ("--set", setting)]
    done = cli("run", "branin_space.yaml", "--trials", "50", *sets, "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    status = json.loads(cli("status", "latest", "--json").stdout)
    best = json.loads(cli("best", "latest", "--json").stdout)
    (experiment,) = (folder / "experiments").iterdir()
    assert best == summary == json.loads((experiment / "summary.json").read_text())
    assert best["experiment"] == str(experiment)
    assert status["state"] == "completed"
    points = [(row["params"]["x1"], row["params"]["x2"]) for row in status["trials"]]
    assert sorted(points) == [(x1, x2) for x1 in (-5, 0, 5, 10) for x2 in (0, 15)]
    assert {row["value"] for row in status["trials"]} >= {best["best"]["value"]}
    again = cli("plan", str(experiment / "sweep.yaml"), "--json")
    assert json.loads(again.stdout)["trials"] == 8
    manifest = json.loads((experiment / "manifest.json").read_text())
    assert manifest["seed"] == 0
    assert manifest["profile"] == "laptop"


def test_a_sweep_listens_on_loopback_alone_and_leaves_nothing_of_rays(folder: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tune_app",
        "run",
        "branin_space.yaml",
        "--trials",
        "4",
        "--set",
        "fixed.step_seconds=0.1",
    ]
    environment = {**os.environ, MARK: folder.parent.name}
    driver = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert driver.stdout is not None
    for line in driver.stdout:
        if "asked" in line:
            break
    family = [psutil.Process(driver.pid), *psutil.Process(driver.pid).children(recursive=True)]
    listening = [c.laddr.ip for p in family for c in connections(p) if c.status == psutil.CONN_LISTEN]
    programs = {Path(word).name for process in family for word in process.cmdline()}
    driver.communicate(timeout=60)
    assert driver.returncode == 0
    assert not programs & {"dashboard.py", "monitor.py", "log_monitor.py"}, "nobody needs them"
    assert "raylet" in programs
    assert listening
    assert {address for address in listening if not loopback(address)} == set()

    (experiment,) = (folder / "experiments").iterdir()
    files = {path.relative_to(experiment).parts[0] for path in experiment.rglob("*")}
    known = {"sweep.yaml", "manifest.json", "events.jsonl", "study.journal", "summary.json", "trials", "driver.log",
             "report.html"}  # fmt: skip
    assert files <= {".lock", *known}
    assert not [path for path in experiment.rglob("*") if path.suffix == ".pkl" or "experiment_state" in path.name]
    wait_until_gone(folder.parent.name)


def loopback(address: str) -> bool:
    return ip_address(address.removeprefix("::ffff:")).is_loopback


def connections(process: psutil.Process) -> list[psutil._common.pconn]:
    try:
        return process.net_connections(kind="inet")
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []
