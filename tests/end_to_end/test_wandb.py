"""Sweeps mirrored to W&B by the real client. A server double answers on loopback."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import VALLEY, Cli
from tests.end_to_end.torture import MARK, marked
from tests.events import asked, at, changed, ended, reported, resumed, started
from tests.wandb_server import KEY, FakeRun, WandbServer
from trainables.files import write_file
from tune_app.config.load import dump, load
from tune_app.config.schema import WandbConfig
from tune_app.experiment.folder import Experiment
from tune_app.experiment.log import EventLog
from tune_app.experiment.out_folder import create, newest
from tune_app.trackers.wandb_process import wandb_process

FAULTS = Path(__file__).parents[1] / "faults"
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def server() -> Iterator[WandbServer]:
    with WandbServer() as double:
        yield double


@pytest.fixture
def environment(server: WandbServer, folder: Path) -> dict[str, str]:
    return {**server.environment(folder.parent / "home"), MARK: folder.parent.name}


@pytest.fixture
def start(folder: Path, environment: dict[str, str]) -> Iterator[Start]:
    """Run a sweep of a user's own model with ARGS in the background."""
    started: list[subprocess.Popen[str]] = []

    def run(*args: str, **more: str) -> subprocess.Popen[str]:
        driver = subprocess.Popen(
            [sys.executable, "-m", "tune_app", "run", *VALLEY, *args],
            cwd=folder, env={**os.environ, **environment, **more}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        started.append(driver)
        return driver

    yield run
    for driver in started:
        driver.kill()
        driver.communicate()


def wait_until(what: Callable[[], Any], *, seconds: float = 40) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def runs_by_trial(server: WandbServer) -> dict[str, FakeRun]:
    return {run_id.rpartition("-")[2]: run for run_id, run in server.runs.items()}


def the_experiment(folder: Path) -> Experiment:
    found = newest(folder / "experiments")
    assert found is not None
    return found


def assert_mirrored(server: WandbServer, experiment: Experiment) -> None:
    """Check that each trial is one run of the one Sweep, and that each report arrived once and in order."""
    (sweep,) = server.sweeps
    runs, records = runs_by_trial(server), experiment.records()
    assert runs.keys() == {record.id for record in records}
    for record in records:
        run = runs[record.id]
        assert run.sweep == sweep
        assert [line["kimg"] for line in run.history] == [report.kimg for report in record.reports], record.id
        assert [line["_step"] for line in run.history] == list(range(len(record.reports)))
        assert run.group == experiment.folder.name
        assert run.config["x1"] == record.params["x1"]
        assert run.config["fixed"]["bias"] == 30
        assert ("stopped-by-asha" in run.tags) == (record.reason == "asha")
        if record.ended:
            assert run.state == ("failed" if record.state == "failed" else "finished")
            assert run.summary["state"] == record.state


def assert_no_key_below(folder: Path) -> None:
    found = [path for path in folder.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert not found, f"the key is in {found}"


@pytest.mark.ray
def test_a_stopped_and_a_failed_run_and_no_key_but_where_it_belongs(
    server: WandbServer, start: Start, folder: Path
) -> None:
    scratch = Path(tempfile.mkdtemp())
    few = ("--trials", "2", "--set", "fixed.step_seconds=2", "--set", "failures.retries=0")
    driver = start(
        *few, PYTHONPATH=str(FAULTS), TUNE_APP_FAULTS="1:error", TUNE_APP_FAULTS_ONCE=str(folder), TMPDIR=str(scratch)
    )
    wait_until(lambda: any(run.history for run in server.runs.values()))
    (mirror,) = (pid for pid in marked(folder.parent.name) if b"--follow" in _read(pid, "cmdline"))
    os.kill(mirror, signal.SIGKILL)
    (first,) = (run_id for run_id in server.runs if run_id.endswith("0000"))
    server.press_stop(first)

    others = [pid for pid in marked(folder.parent.name) if not _may_know(pid, driver.pid)]
    assert len(others) >= 3, "two processes of Ray, and a worker"
    for pid in others:
        for what in ("environ", "cmdline"):
            assert KEY.encode() not in _read(pid, what), _read(pid, "cmdline")
    assert list(scratch.glob("tune_app-*"))
    assert_no_key_below(scratch)

    output, _ = driver.communicate(timeout=100)  # wandb hears of it within 15 s, and asks itself every 15 s
    assert driver.returncode == 0, output
    assert "(person)" in output, output
    assert "the process that sends the sweep to W&B ended unexpectedly; starting it again" in output
    assert not list(scratch.glob("tune_app-*"))
    shutil.rmtree(scratch)
    assert KEY not in output
    experiment = the_experiment(folder)
    assert_no_key_below(experiment.folder)
    assert_mirrored(server, experiment)
    records = {record.id: record for record in experiment.records()}
    assert (records["0000"].state, records["0000"].reason) == ("stopped", "person")
    runs = runs_by_trial(server)
    assert (runs["0000"].exit_code, runs["0001"].exit_code) == (0, 1)
    assert "ValueError" in runs["0001"].summary["reason"]
    assert [sweep.state for sweep in server.sweeps.values()] == ["FINISHED"]
    assert len(server.alerts) == 1


def _may_know(pid: int, driver: int) -> bool:
    """Return True if a process is the driver, the W&B mirror, or was started by wandb."""
    command = _read(pid, "cmdline")
    return pid == driver or b"--follow" in command or b"wandb-core" in command


def _read(pid: int, what: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{what}").read_bytes()
    except OSError:
        return b""


@pytest.mark.ray
def test_killed_away_resumed_and_synced_twice_every_report_is_there_once(
    server: WandbServer, start: Start, cli: Cli, folder: Path, environment: dict[str, str]
) -> None:
    few = ("--resume", "night", "--trials", "6", "--set", "fixed.step_seconds=0.1")
    driver = start(*few)
    assert driver.stdout
    assert any("at 9 kimg" in line for line in driver.stdout)
    driver.send_signal(signal.SIGKILL)
    wait_until(lambda: server.runs and all(run.state != "running" for run in server.runs.values()))
    assert {run.state for run in server.runs.values()} <= {"preempted", "finished"}
    assert "preempted" in {run.state for run in server.runs.values()}

    server.mode = "unavailable"
    resumed = cli("resume", "latest", "--set", "wandb.finish_timeout=5", env=environment)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert resumed.stdout.count("W&B is unreachable") <= 1
    assert "to send the rest: python -m tune_app sync experiments" in resumed.stdout

    server.mode = "ok"
    for _ in range(2):
        synced = cli("sync", "latest", env=environment)
        assert synced.returncode == 0, synced.stdout + synced.stderr
        assert_mirrored(server, the_experiment(folder))
        assert [sweep.state for sweep in server.sweeps.values()] == ["FINISHED"]
        assert len(server.alerts) == 1
    assert_no_key_below(the_experiment(folder).folder)
    assert KEY not in resumed.stdout + resumed.stderr + synced.stdout + synced.stderr


@pytest.mark.ray
def test_a_server_that_hangs_at_the_end_costs_the_time_allowed(
    server: WandbServer, start: Start, cli: Cli, folder: Path, environment: dict[str, str]
) -> None:
    driver = start("--trials", "2", "--set", "fixed.step_seconds=0.1", "--set", "wandb.finish_timeout=4")
    wait_until(lambda: any(run.history for run in server.runs.values()))
    server.mode = "hang"
    assert driver.stdout
    ended = sum("completed at 27" in line for line in iter(driver.stdout.readline, "") if "completed" in line)
    assert ended == 2
    driver.wait(timeout=30)
    assert driver.returncode == 0

    server.mode = "unauthorized"
    refused = cli("sync", "latest", env=environment)
    assert refused.returncode == 1
    assert "W&B did not receive everything" in refused.stderr
    assert "Traceback" not in refused.stdout + refused.stderr
    server.mode = "ok"
    assert cli("sync", "latest", env=environment).returncode == 0
    assert_mirrored(server, the_experiment(folder))


@pytest.mark.ray
def test_pausing_resuming_and_cancelling_the_sweep_in_wandb(server: WandbServer, start: Start, folder: Path) -> None:
    driver = start("--trials", "30", "--set", "fixed.step_seconds=0.2")
    wait_until(lambda: server.sweeps and the_experiment(folder).records())
    (sweep,) = server.sweeps.values()
    wait_until(lambda: sweep.state == "RUNNING")
    sweep.state = "PAUSED"
    wait_until(lambda: all(record.ended for record in the_experiment(folder).records()), seconds=60)
    asked = len(the_experiment(folder).records())
    assert asked < 30
    sweep.state = "RUNNING"
    wait_until(lambda: len(the_experiment(folder).records()) > asked)
    sweep.state = "CANCELED"
    output, _ = driver.communicate(timeout=60)
    assert driver.returncode == 0, output
    assert {record.state for record in the_experiment(folder).records()} <= {"completed", "stopped"}
    assert len(the_experiment(folder).records()) < 30
    assert sweep.state == "CANCELED"


def test_pictures_the_curve_the_best_setting_and_the_winner_reach_wandb(
    server: WandbServer, cli: Cli, folder: Path, environment: dict[str, str]
) -> None:
    experiment = an_ncsn_experiment(folder / "experiments")
    done = cli("sync", experiment.folder.name, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = server.runs.values()
    assert run.config["step_size"] == 3.5
    assert any(name.startswith("media/images/samples") for name in run.files)
    for chart in ("curve", "loss_by_level"):
        assert any(name.startswith(f"media/table/{chart}") for name in run.files)
    assert [line["kid"] for line in run.history if "kid" in line] == [0.5]
    assert (run.history[-1]["kl_loss"], run.history[-1]["held_out_kl_loss"]) == (7.0, 6.0)
    assert "images_per_second" in run.history[0]
    (artifact,) = (artifact for artifact in server.artifacts if artifact["type"] == "model")
    assert "best" in artifact["aliases"]


def test_a_renamed_experiment_keeps_its_runs_and_a_second_sync_asks_for_little(
    server: WandbServer, cli: Cli, folder: Path, environment: dict[str, str]
) -> None:
    experiment = an_ncsn_experiment(folder / "experiments")
    assert cli("sync", str(experiment.folder), env=environment).returncode == 0
    asked = server.requests
    renamed = experiment.folder.rename(folder / "experiments/renamed")
    (renamed / "wandb.json").rename(folder / "kept.json")
    again = cli("sync", str(renamed), "--json", env=environment)
    assert again.returncode == 0
    assert json.loads(again.stdout)["sweep"].endswith("/sweeps/sweep002")
    assert len(server.runs) == 1
    assert server.runs["ncsn-5eed-0000"].exit_code == 0

    (folder / "kept.json").rename(renamed / "wandb.json")
    before = server.requests
    assert cli("sync", str(renamed), env=environment).returncode == 0
    assert server.requests - before < asked / 2


def test_what_was_deleted_in_wandb_is_left_out_or_made_anew(
    server: WandbServer, cli: Cli, folder: Path, environment: dict[str, str]
) -> None:
    experiment = an_ncsn_experiment(folder / "experiments")
    server.deleted.add("ncsn-5eed-0000")
    for lines in (1, 0):  # said once
        done = cli("sync", str(experiment.folder), env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.count("the run of trial 0000 was deleted there, so the trial is left out") == lines

    server.sweeps.clear()
    (experiment.folder / "trials/0000/error.txt").touch()
    log = EventLog(experiment.events)
    log.append(resumed(7200))
    log.append(asked("0001", sigma_begin=1.0, sigma_end=0.01, num_scales=10, lr=1e-3))
    log.append(at(7300, "sweep_ended", state="interrupted", hours=0.2))
    log.close()
    refused = cli("sync", str(experiment.folder), env=environment)
    assert refused.returncode == 1
    assert "W&B refuses (the sweep was deleted in W&B)" in refused.stdout
    assert "the sweep goes on" not in refused.stdout
    anew = cli("sync", str(experiment.folder), "--new", env=environment)
    assert anew.returncode == 0, anew.stdout + anew.stderr
    assert len(server.sweeps) == 1
    assert sorted(run_id[-4:] for run_id in server.runs) == ["0000", "0001"]


def test_another_project_gets_a_sweep_of_its_own(
    server: WandbServer, cli: Cli, folder: Path, environment: dict[str, str]
) -> None:
    experiment = an_ncsn_experiment(folder / "experiments")
    assert cli("sync", str(experiment.folder), env=environment).returncode == 0
    write_file(experiment.sweep_yaml, dump(experiment.config({"wandb.project": "other"})))
    done = cli("sync", str(experiment.folder), env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "wandb.project or wandb.entity has changed" in done.stdout
    assert sorted(sweep.project for sweep in server.sweeps.values()) == ["cifar10-generative-models", "other"]


def test_a_sync_without_a_key_is_refused(cli: Cli, folder: Path, environment: dict[str, str]) -> None:
    experiment = an_ncsn_experiment(folder / "experiments")
    done = cli("sync", str(experiment.folder), env={**environment, "WANDB_API_KEY": ""})
    assert done.returncode == 2
    assert "there is no key for http://127.0.0.1" in done.stderr
    assert "wandb login --host http://127.0.0.1" in done.stderr


def an_ncsn_experiment(out: Path) -> Experiment:
    config = load("ncsn_space.yaml", profile="laptop", set={"wandb.log_model": True})
    experiment = create(out, "ncsn")
    write_file(experiment.sweep_yaml, dump(config))
    checkpoint = experiment.trial("0000") / "checkpoint_000022000"
    checkpoint.mkdir(parents=True)
    for name in ("about.json", "state.pt"):
        (checkpoint / name).write_text("{}")
    from PIL import Image

    Image.new("RGB", (8, 8)).save(experiment.trial("0000") / "samples-22.png")
    curve = [{"step_size": size, "kid": kid} for size, kid in ((2.0, 0.9), (3.5, 0.5), (6.0, 0.7))]
    levels = [{"sigma": 1.0, "loss": 9.0}]
    metrics = {"kid": 0.5, "train_loss": 8.0, "train_kl_loss": 7.0, "kl_loss": 6.0, "evaluation_seconds": 1.0}
    rung = changed(
        reported("0000", 22.0, "stop", **metrics), sampling={"step_size": 3.5}, curve=curve, levels=levels,
        pictures={"samples": "trials/0000/samples-22.png"},
    )  # fmt: skip
    log = EventLog(experiment.events)
    for event in (
        changed(started(config=config.model_dump(mode="json", exclude={"profiles"})), name="ncsn", identity="5eed"),
        asked("0000", "baseline", sigma_begin=1.0, sigma_end=0.01, num_scales=10, lr=1e-3),
        reported("0000", 3.0, rung=False, train_loss=9.0),
        rung,
        at(0, "checkpointed", trial="0000", kimg=22.0, path="trials/0000/checkpoint_000022000"),
        ended("0000", kimg=22.0),
        at(0, "sweep_ended", state="completed", hours=0.1),
    ):
        log.append(event)
    log.close()
    return experiment


@pytest.mark.parametrize(
    ("mode", "says"), [("auto", "python -m tune_app sync"), ("offline", "python -m tune_app sync"), ("disabled", "")]
)
def test_without_a_key_nothing_starts_and_the_sync_line_is_said(
    mode: Any, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "absent"))
    said: list[str] = []
    with wandb_process(WandbConfig(mode=mode), Experiment(tmp_path), said.append):
        assert not list(marked(str(tmp_path)))
    assert [says in line for line in said] == ([True] if says else [])
