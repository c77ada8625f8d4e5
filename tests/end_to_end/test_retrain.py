"""A sweep and its retraining through the command line. The driver is killed in the middle, and resumed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, stdev

import pytest
import torch

from tests.conftest import Cli, Sweep
from tests.wandb_server import WandbServer
from trainables import data as data_sets
from trainables.contract import DataSpec
from tune_app.driver.trial_spec import run_spec
from tune_app.experiment.folder import Experiment
from tune_app.experiment.out_folder import newest

pytestmark = pytest.mark.ray
TINY = [
    "fixed.width=8", "fixed.batch_size=16", "scheduler.max_kimg=0.256", "scheduler.grace_kimg=0.128",
    "evaluation.report_kimg=0.064", "evaluation.samples=16", "evaluation.final_samples=16", "evaluation.nfe=6",
    "recheck.trials=2", "recheck.draws=2", "recheck.samples=24", "recheck.nfe=10", "recheck.seeds=0",
]  # fmt: skip


@pytest.fixture
def server() -> Iterator[WandbServer]:
    with WandbServer() as double:
        yield double


def latest(folder: Path) -> Sweep:
    found = newest(folder / "experiments")
    assert found is not None
    return Sweep(found.folder)


def images_of(experiment: Experiment) -> DataSpec:
    return run_spec(experiment.config(), {}, seed=0).data


def run_ids(server: WandbServer, experiment: Path) -> set[str]:
    """Return the ids of the W&B runs of an experiment."""
    return {run_id for run_id, run in server.runs.items() if run.group == experiment.name}


def test_a_retraining_bears_a_kill_keeps_its_identities_and_alone_uses_the_test_images(
    cli: Cli, folder: Path, server: WandbServer
) -> None:
    environment = server.environment(folder.parent / "home")
    sets = [word for setting in TINY for word in ("--set", setting)]
    run = ("run", "ncsn_space.yaml", "--profile", "laptop", "--data", "digits", "--trials", "3", *sets)
    done = cli(*run, env=environment, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    sweep = latest(folder)

    command = ("retrain", sweep.folder.name, "--seeds", "2", "--with-baselines")
    driver = subprocess.Popen(
        [sys.executable, "-m", "tune_app", *command],
        cwd=folder, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert driver.stdout
    said = []
    assert any("0002 asked" in (said.append(line) or line) for line in driver.stdout), said
    driver.kill()
    driver.communicate()
    killed = newest(folder / "experiments")
    assert killed is not None
    assert killed.folder != sweep.folder
    before = (killed.read_records().identity, run_ids(server, killed.folder), set(server.sweeps))
    assert any(not record.ended for record in killed.records()), "it was killed in the middle"

    shutil.move(sweep.folder, folder / "the sweep is elsewhere now")
    done = cli("resume", "latest", env=environment, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    again = latest(folder)
    assert again.folder == killed.folder
    sweep = Sweep(folder / "the sweep is elsewhere now")

    identity, ids, sweeps = before
    assert killed.read_records().identity == identity
    assert set(server.sweeps) == sweeps, "no other Sweep was made"
    assert run_ids(server, killed.folder) >= ids
    trials = [event["trial"] for event in again.of("asked")]
    assert {run_id.rpartition("-")[2] for run_id in run_ids(server, killed.folder)} == set(trials)
    assert Counter(event["trial"] for event in again.of("ended")) == Counter(trials)
    assert {event["state"] for event in again.of("ended")} == {"completed"}

    assert_only_the_retraining_used_the_test_images(sweep, again)
    assert_values_of_the_log(again, done.stdout)

    exported = cli("export", "latest", "--out", "model", timeout=200)
    assert exported.returncode == 0, exported.stdout + exported.stderr
    card = (folder / "model" / "README.md").read_text()
    assert "1,618 training images, those that the sweep held out included" in card
    assert "It was not chosen by the test images." in card
    about = json.loads((folder / "model" / "config.json").read_text())
    assert about["mean"] == pytest.approx(data_sets.load(images_of(killed)).mean)
    assert "test images" in cli("best", "latest").stdout
    assert "the retraining is finished" in cli("resume", "latest").stdout
    refused = cli("resume", "latest", "--trials", "9")
    assert refused.returncode == 2
    assert "a retraining has" in refused.stderr
    kept = json.loads(next((killed.trials / "0000").glob("checkpoint_*/about.json")).read_text())
    assert kept["spec"]["data"]["evaluated_on"] == "test"
    next((killed.trials / "0000").glob("checkpoint_*/state.pt")).write_bytes(b"half a checkpoint")
    damaged = cli("export", "latest", "--out", "another model")
    assert damaged.returncode == 2
    assert len(damaged.stderr.strip().splitlines()) <= 2
    assert "Traceback" not in damaged.stderr
    assert not (folder / "another model").exists()


def assert_only_the_retraining_used_the_test_images(sweep: Sweep, again: Sweep) -> None:
    searched = data_sets.load(images_of(Experiment(sweep.folder)))
    retrained = data_sets.load(images_of(Experiment(again.folder)))
    assert torch.equal(retrained.held_out, searched.test)
    assert {event["data"] for event in sweep.of("sweep_started")} == {searched.fingerprint}
    begun = [*again.of("sweep_started"), *again.of("sweep_resumed")]
    assert {event["data"] for event in begun} == {retrained.fingerprint}
    assert [event["features"] for event in begun] == 2 * [sweep.of("sweep_started")[0]["features"]]
    assert begun[0]["compared"] == {"retraining": 179}
    assert not again.of("rechecked")
    rungs = [event for event in again.of("reported") if event["rung"]]
    assert {event["kimg"] for event in rungs} == {0.256}, "the test images are used once, at the end"
    assert len(rungs) == len(again.of("asked"))


def assert_values_of_the_log(again: Sweep, printed: str) -> None:
    """Check the table against the log: mean and standard deviation over the trainings of each setting."""
    answer = again.summary["retraining"]
    kid = {event["trial"]: event["metrics"]["kid"] for event in again.of("reported") if event["rung"]}
    params = {event["trial"]: event["params"] for event in again.of("asked")}
    for row in answer["rows"]:
        values = [kid[trial] for trial in row["trials"]]
        assert len(values) == 2
        assert values[0] != values[1], "each training has its own seed"
        assert params[row["trials"][0]] == params[row["trials"][1]]
        assert row["metrics"]["kid"] == pytest.approx({"mean": fmean(values), "sd": stdev(values)})
        assert f"{fmean(values):.4g} ± {stdev(values):.2g}" in printed
        promise = row["promised"]["kid"]
        assert f"{promise['value']:.4g} ± {promise['stderr']:.2g}" in printed
        assert {"bpd", "fd", "kid_alt"} <= row["metrics"].keys()
    assert any(row["baseline"] for row in answer["rows"])
    assert again.summary["best"]["trial"] == "0000"
