"""The real wandb client against our server double: what the mirror relies on, and what it asks a server for."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.wandb_server import FakeRun, Mode, WandbServer

NEEDED = frozenset(
    {
        "CommitArtifact",
        "CreateArtifact",
        "CreateArtifactFiles",
        "CreateArtifactManifest",
        "CreateRunFiles",
        "GetSweepState",
        "NotifyScriptableRunAlert",
        "RunResumeStatus",
        "SweepWithRuns",
        "UpsertBucket",
        "UpsertSweep",
        "Viewer",
    }
)
"""What a sweep, its runs, an alert and an artifact ask for; a client that asks for more is noticed here."""
REFUSED = frozenset({"ArtifactType", "OrganizationCoreWeaveOrganizationID", "ServerFeaturesQuery"})
"""Asked for as well, and done without."""
VIEW = frozenset({"UpsertView2"})

PRELUDE = """
import sys, threading, time
import wandb
from wandb.sdk.lib.run_stopping import RunStopChecker

RunStopChecker.__init__.__kwdefaults__["poll_interval"] = 0.1  # else 15 s
waits = {f"x_{which}_retry_wait_{end}_seconds": 0.1 for which in ("file_stream", "graphql") for end in ("min", "max")}

def trial(id="t-1", mode="online", timeout=20, quiet=True, stop_fn=None):
    settings = wandb.Settings(
        sweep_id="s-1", init_timeout=timeout, finish_timeout=timeout, quiet=quiet, stop_fn=stop_fn,
        x_disable_stats=True, x_save_requirements=False, x_file_stream_transmit_interval=0.1, **waits,
    )
    return wandb.init(
        entity="founders", project="p", id=id, name="first", group="exp", tags=["ncsn"], config={"lr": 0.1}, mode=mode,
        resume="allow", reinit="create_new", settings=settings,
    )

def picture():
    import numpy as np
    return wandb.Image(np.zeros((8, 8, 3), np.uint8))
"""


class Client:
    """A script that uses wandb in a process of its own. It can wait with `input()` for `go`."""

    def __init__(self, script: str, *, env: dict[str, str], folder: Path) -> None:
        self._errors = folder / "stderr.txt"
        with self._errors.open("a") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", PRELUDE + script],
                env=env,
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def go(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def printed(self) -> list[str]:
        """Return the lines that a client printed. The client must have ended well."""
        said, _ = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, said + self._errors.read_text()
        return said.splitlines()


Start = Callable[[str], Client]


@pytest.fixture
def server() -> Iterator[WandbServer]:
    with WandbServer() as server:
        yield server
    assert set(server.operations) <= NEEDED | REFUSED | VIEW
    assert server.unknown <= REFUSED


@pytest.fixture
def start(server: WandbServer, tmp_path: Path) -> Iterator[Start]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    env = {**inherited, **server.environment(tmp_path / "home")}
    clients: list[Client] = []

    def run(script: str) -> Client:
        clients.append(Client(script, env=env, folder=tmp_path))
        return clients[-1]

    yield run
    for client in clients:
        client.process.kill()
        client.process.communicate()


def until(holds: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def steps(run: FakeRun) -> list[int]:
    return [line["_step"] for line in run.history]


def test_a_sweep_and_all_that_a_run_in_it_tells(server: WandbServer, start: Start) -> None:
    client = start("""
from wandb.apis.public.sweeps import _get_sweep_state, _set_sweep_state
config = {"name": "s", "method": "custom", "parameters": {"lr": {"values": [0.1, 0.2]}}}
sweep = wandb.sweep(config, entity="founders", project="p")
api = wandb.Api(timeout=5)
for state in ("RUNNING", "PAUSED", "RUNNING", "FINISHED"):
    _set_sweep_state(api, sweep, state, entity="founders", project="p")
    print(_get_sweep_state(api, sweep, entity="founders", project="p"))
run = trial(quiet=False)
run.define_metric("kimg")
run.define_metric("*", step_metric="kimg")
run.log({"kimg": 5, "kid": 0.5, "samples": picture()}, step=1)
run.log({"kimg": 10, "kid": 0.25}, step=2)
run.summary.update({"stop_reason": "asha"})
run.tags += ("early-stopped",)
run.alert("found", "a better one", level=wandb.AlertLevel.WARN)
model = wandb.Artifact("champion", type="model")
with model.new_file("model.pt", mode="wb") as file:
    file.write(b"weights")
run.log_artifact(model, aliases=["best"])
run.finish(exit_code=0)
""")
    assert client.printed()[-4:] == ["RUNNING", "PAUSED", "RUNNING", "FINISHED"]
    (sweep,) = server.sweeps.values()
    assert (sweep.entity, sweep.project, sweep.state, sweep.display) == ("founders", "p", "FINISHED", "s")
    assert sweep.config["parameters"] == {"lr": {"values": [0.1, 0.2]}}
    (run,) = server.runs.values()
    assert (run.id, run.name, run.group, run.project, run.sweep) == ("t-1", "first", "exp", "p", "s-1")
    assert (run.tags, run.config) == (["ncsn", "early-stopped"], {"lr": 0.1})
    assert [(line["_step"], line["kimg"], line["kid"]) for line in run.history] == [(1, 5, 0.5), (2, 10, 0.25)]
    assert (run.summary["kid"], run.summary["stop_reason"]) == (0.25, "asha")
    assert run.files[run.history[0]["samples"]["path"]].startswith(b"\x89PNG")
    assert (run.exit_code, run.state) == (0, "finished")
    assert [(alert["title"], alert["severity"]) for alert in server.alerts] == [("found", "WARN")]
    champion = {"name": "champion", "type": "model", "aliases": ["best", "latest"], "files": {"model.pt": b"weights"}}
    assert server.artifacts == [champion]
    assert set(server.operations) - server.unknown == NEEDED
    assert server.unknown  # and for all that, the run is whole


def test_an_interrupted_run_goes_on_at_its_next_step(server: WandbServer, start: Start) -> None:
    client = start("""
run = trial()
run.log({"kid": 3.5}, step=3)
run.log({"kid": 7.5}, step=7)
run.summary["best"] = 3.5
run.mark_preempting()
run.finish(exit_code=1)
input()
run = trial()
print(run.resumed, run.starting_step, run.summary["best"], run.config["lr"])
print(run.step)
run.log({"kid": 0}, step=7)  # dropped: it is there already
run.log({"kid": 8.5}, step=8)
print(run.step)
run.finish(exit_code=0)
""")
    until(lambda: bool(server.runs and server.runs["t-1"].exit_code is not None))
    run = server.runs["t-1"]
    assert (run.preempting, run.exit_code, run.state) == (True, 1, "preempted")
    client.go()
    # of wandb 0.31: run.step is 0 until the first line, so that run.starting_step is what to trust
    assert client.printed() == ["True 8 3.5 0.1", "0", "8"]
    assert steps(run) == [3, 7, 8]
    assert (run.preempting, run.state) == (False, "finished")


def test_a_press_on_stop_reaches_the_run_that_was_meant(server: WandbServer, start: Start) -> None:
    client = start("""
stop = {id: threading.Event() for id in ("t-1", "t-2")}
runs = {id: trial(id, stop_fn=event.set) for id, event in stop.items()}
for step in range(200):
    for run in runs.values():
        run.log({"kid": step}, step=step)
    if stop["t-2"].wait(0.1):
        break
print([id for id, event in stop.items() if event.is_set()])
for run in runs.values():
    run.finish(exit_code=0)
""")
    until(lambda: "t-2" in server.runs)
    server.press_stop("t-2")
    assert client.printed() == ["['t-2']"]


def test_a_start_fails_in_time_and_its_id_is_free_after_teardown(server: WandbServer, start: Start) -> None:
    client = start("""
def attempt(**arguments):
    try:
        trial(**arguments).finish()
    except wandb.errors.CommError:
        print("no answer", flush=True)
    except Exception as error:
        print(error, flush=True)
for _ in range(3):
    input()
    began = time.monotonic()
    attempt(id=str(_), timeout=0.5)
    assert time.monotonic() - began < 3
attempt(id="0", mode="offline")
wandb.teardown()
attempt(id="0", mode="offline")
""")
    assert client.process.stdout
    modes: tuple[Mode, ...] = ("unavailable", "hang", "unauthorized")
    for mode in modes:
        server.mode = mode
        client.go()
        assert client.process.stdout.readline() == "no answer\n"
    assert client.printed()[0] == "run ID 0 is in use"
    assert (server.requests > 0, server.runs) == (True, {})


def test_lines_told_while_the_server_is_away_arrive_when_it_is_back(server: WandbServer, start: Start) -> None:
    client = start("""
for id in ("unavailable", "hang"):
    run = trial(id)
    input()
    for step in range(1, 100):
        run.log({"kid": step}, step=step)
    run.finish(exit_code=0)
""")
    modes: tuple[Mode, ...] = ("unavailable", "hang")
    for mode in modes:
        until(lambda mode=mode: mode in server.runs)  # type: ignore[misc]
        run, server.mode, asked = server.runs[mode], mode, server.requests
        client.go()
        until(lambda asked=asked: server.requests > asked)  # type: ignore[misc]
        assert (run.history, run.state) == ([], "running")
        server.mode = "ok"
    client.printed()
    for run in server.runs.values():
        assert (steps(run), run.state) == (list(range(1, 100)), "finished")


def test_a_run_kept_offline_comes_to_its_sweep_with_sync(server: WandbServer, start: Start) -> None:
    start("""
from wandb.cli import cli
run = trial(mode="offline")
run.log({"kid": 0.5, "samples": picture()}, step=4)
run.finish(exit_code=3)
cli.sync([run.settings.sync_dir], standalone_mode=False)
""").printed()
    run = server.runs["t-1"]
    assert (run.sweep, run.group, run.tags, steps(run), run.state) == ("s-1", "exp", ["ncsn"], [4], "failed")
    assert run.history[0]["samples"]["path"] in run.files
