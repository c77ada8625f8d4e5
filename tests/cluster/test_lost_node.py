"""A submitted sweep on a cluster of three nodes survives the loss of a node."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.ray_cluster import RayCluster, ray_cluster
from tests.conftest import VALLEY, Cli, Sweep
from tests.end_to_end.torture import check

pytestmark = pytest.mark.ray
TOKEN, KEY = "a token of this test alone, and of no other", "a key of W&B, which stays with its owner"
LAPTOP = (
    "search.trials=2", "fixed.width=8", "scheduler.max_kimg=16", "scheduler.grace_kimg=1", "evaluation.report_kimg=0.5",
    "evaluation.samples=64", "evaluation.final_samples=64", "evaluation.nfe=10", "evaluation.features=randconv",
    "recheck.trials=0",
)  # fmt: skip
"""The profile of a cluster without GPUs, cut to what two cores do in a minute."""
BLIND = """
import sys
from pathlib import Path
from tune_app.cluster import ray as cluster
from tune_app.cluster import shared_folder as shared
from tune_app.errors import InputError

cluster.join(sys.argv[1])
away = (Path() / "away").absolute().as_uri()
shared.check_shared(Path("experiments"), None)
assert not list(Path().iterdir()), "something was left behind"
shared.check_shared(Path("experiments"), away)
shared.token_hex = lambda count: "ab" * count
shared.storage.touch = lambda *_: None  # what this process believes to see, no other does
shared.storage.content = lambda _: b"ab" * 16
for address in (None, away):
    try:
        shared.check_shared(Path("experiments"), address)
    except InputError as error:
        print(error)
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with ray_cluster([{"num_cpus": 1}, {"num_cpus": 1}], token=TOKEN) as found:
        yield found


def test_nodes_that_do_not_see_the_experiment_folder_are_named(cluster: RayCluster, folder: Path) -> None:
    command = [sys.executable, "-c", BLIND, cluster.address]
    done = subprocess.run(command, cwd=folder, env=cluster.environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    blind = "127.0.0.1 cannot see what the driver writes there"
    assert done.stdout.splitlines() == [
        f"experiments is not shared by the nodes of the cluster: {blind}; {blind}",
        f"storage: {(folder / 'away').as_uri()} is not reachable from every node: {blind}; {blind}",
    ]


def test_a_submitted_sweep_survives_the_loss_of_a_node(cluster: RayCluster, folder: Path) -> None:
    short = [word for setting in LAPTOP for word in ("--set", setting)]
    command = [sys.executable, "-m", "tune_app", "submit", "ncsn_space.yaml", "--address", cluster.dashboard, *short]
    said = ""
    with subprocess.Popen(
        [*command, "--out", str(folder), "--wandb", "disabled"],
        cwd=folder,
        env={**cluster.environment, "WANDB_API_KEY": KEY},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as submit:
        assert submit.stdout is not None
        for line in submit.stdout:
            said += line
            if "at 1 kimg" in line and len(cluster.raylets) == 2:
                cluster.kill_node()
        submit.wait(timeout=60)
    assert submit.returncode == 0, said
    assert "accepts jobs from anyone" not in said, "the cluster has a token"
    assert TOKEN not in said
    (experiment,) = folder.iterdir()
    sweep = Sweep(experiment)
    assert {failure["kind"] for failure in sweep.of("failed")} == {"worker_lost"}
    assert Counter(event["trial"] for event in sweep.of("ended")) == {"0000": 1, "0001": 1}
    assert sweep.summary["state"] == "completed"
    assert len(sweep.of("asked")) == 2
    assert all((experiment / event["pictures"]["samples"]).is_file() for event in sweep.of("reported") if event["rung"])
    assert not holding(TOKEN, experiment)
    assert not holding(KEY, experiment)
    assert not holding(KEY, cluster.folder), "it has been sent"


def test_a_job_with_a_users_model_that_is_stopped_carries_on_when_it_is_submitted_again(
    cluster: RayCluster, cli: Cli, folder: Path
) -> None:
    out = folder / "experiments"
    settings = ("fixed.step_seconds=0.3", f"storage={(folder / 'away').as_uri()}")
    sets = [word for setting in settings for word in ("--set", setting)]
    night = (*VALLEY, "--name", "night", "--trials", "3", *sets, "--out", str(out), "--wandb", "disabled")

    def submit(*args: str) -> str:
        done = cli("submit", *args, "--address", cluster.dashboard, env=cluster.environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    job = submit(*night, "--no-wait").strip()
    wait_for(lambda: any('"rung":true' in log.read_text().replace(" ", "") for log in out.glob("*/events.jsonl")))
    submit("--stop", job)
    wait_for(lambda: json.loads(submit("--status", job, "--json"))["exit_code"] is not None)
    assert json.loads(submit("--status", job, "--json")) == {"job": job, "state": "STOPPED", "exit_code": 130}
    assert "resume with" in submit("--logs", job)
    said = submit(*night)
    assert "night: completed" in said, said
    (experiment,) = out.iterdir()
    sweep = Sweep(experiment)
    assert [event["state"] for event in sweep.of("sweep_ended")] == ["interrupted", "completed"]
    check(sweep, trials=3)
    assert not list(experiment.rglob("checkpoint_*"))


def wait_for(happened: Callable[[], bool], seconds: float = 100.0) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it has not happened"
        time.sleep(0.2)


def holding(secret: str, folder: Path) -> list[Path]:
    """Return the files below `folder` that contain `secret`."""
    return [path for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
