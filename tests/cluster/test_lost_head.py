"""A sweep on a joined cluster says that the cluster's head has died, and can be resumed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest

from tests.conftest import Sweep
from tune_app.cluster.health import HEAD_SECONDS, JoinedCluster

IMPATIENT = """
from tune_app.cluster import health
health.HEAD_SECONDS = health.PATIENCE_SECONDS = 2.0
"""
RUN = "from tune_app.cli.error_ladder import main; main()"


@pytest.fixture
def head() -> Iterator[dict[str, str]]:
    """Start a head on loopback with four CPUs, as a user does. Yield the environment of its drivers."""
    folder = tempfile.mkdtemp(prefix="ray-")  # short: a socket's path has 107 bytes
    environment = {
        **os.environ,
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # every port on loopback
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
        "RAY_TMPDIR": folder,
        "HOME": folder,
    }
    start = ["-m", "ray.scripts.scripts", "start", "--head", "--port=0", "--num-cpus=4", "--include-dashboard=false"]
    place = ["--node-ip-address=127.0.0.1", f"--temp-dir={folder}", "--object-store-memory=100000000"]
    subprocess.run([sys.executable, "-W", "ignore", *start, *place], env=environment, check=True, capture_output=True)
    yield environment
    for process in processes(folder):
        with suppress(psutil.NoSuchProcess):
            process.kill()


def processes(folder: str) -> list[psutil.Process]:
    """Return the processes of Ray with that temporary folder."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("RAY_TMPDIR") == folder and process.pid != os.getpid():
                found.append(process)
    return found


def kill(head: dict[str, str], name: str) -> None:
    (found,) = (process for process in processes(head["RAY_TMPDIR"]) if process.name() == name)
    found.send_signal(signal.SIGKILL)


@pytest.mark.ray
def test_a_head_that_dies_is_one_sentence_and_the_sweep_can_be_resumed(head: dict[str, str], folder: Path) -> None:
    address = Path(head["RAY_TMPDIR"], "ray_current_cluster").read_text().strip()

    def start(name: str, script: str) -> subprocess.Popen[str]:
        sweep = ["branin_space.yaml", "--trials", "2", "--set", "fixed.step_seconds=1", "--name", name]
        return subprocess.Popen(
            [sys.executable, "-c", script, "run", *sweep, "--address", address, "--wandb", "disabled"],
            cwd=folder, env=head, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ended(driver: subprocess.Popen[str], name: str) -> str:
        output, errors = driver.communicate(timeout=60)
        assert driver.returncode == 1, output + errors
        (experiment,) = (folder / "experiments").glob(f"{name}-*")
        assert f"resume with: python -m tune_app resume experiments/{experiment.name}\n" in errors
        sweep = Sweep(experiment)
        assert [event["state"] for event in sweep.of("sweep_ended")] == ["interrupted"]
        assert sweep.summary["trials"] == {"interrupted": 2}
        error, hint = (line for line in errors.splitlines() if not line.startswith("["))  # the others are progress
        assert "resume with" in hint
        return error

    drivers = {"elsewhere": start("elsewhere", IMPATIENT + RUN), "here": start("here", IMPATIENT + RUN)}
    for driver in drivers.values():
        assert driver.stdout
        assert any("at 3 kimg" in line for line in driver.stdout), driver.communicate()
    kill(head, "gcs_server")  # as a driver on another machine sees it
    dead = f"error: the head of the cluster ({address}) died"
    assert ended(drivers["elsewhere"], "elsewhere").startswith(dead)
    kill(head, "raylet")  # a driver on the head's own machine notices at once
    assert ended(drivers["here"], "here").startswith(dead)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def address_of(server: socket.socket) -> str:
    return f"127.0.0.1:{server.getsockname()[1]}"


def test_a_head_that_is_silent_for_a_while_is_dead_and_one_that_comes_back_is_not() -> None:
    clock = Clock()
    with closing(listener()) as node:
        server = listener()
        head = address_of(server)
        cluster = JoinedCluster(head, address_of(node), clock)
        cluster.look()
        server.close()
        clock.now = HEAD_SECONDS - 1
        cluster.look()
        assert (cluster.dead, cluster.silence) == ("", HEAD_SECONDS - 1)
        clock.now = HEAD_SECONDS
        cluster.look()
        assert cluster.dead == f"the head of the cluster ({head})"
        with closing(socket.create_server(("127.0.0.1", int(head.rpartition(":")[2])))):
            cluster.look()
            assert (cluster.dead, cluster.silence) == ("", 0)


def test_a_dead_node_of_this_machine_is_noticed_at_once() -> None:
    with closing(listener()) as head:
        server = listener()
        node = address_of(server)
        cluster = JoinedCluster(address_of(head), node)
        assert cluster.dead == ""
        server.close()
        assert cluster.dead == f"Ray's node on this machine ({node})"
