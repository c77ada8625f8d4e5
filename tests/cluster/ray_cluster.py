"""Start a Ray cluster on loopback for the tests: a head and worker nodes, each with its own processes, and a token."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil


class RayCluster:
    """A running cluster. `python -m tests.cluster.ray_cluster` owns its nodes and ends them with its stdin."""

    def __init__(self, folder: Path, process: subprocess.Popen[str], environment: dict[str, str]) -> None:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, (folder / "log").read_text()
        said = json.loads(line)
        self.folder, self.environment = folder, environment
        self.address: str = said["address"]
        self.dashboard: str = said["dashboard"]
        self.raylets: list[int] = said["raylets"]
        """Of the worker nodes that are alive."""

    def kill_node(self) -> None:
        """Kill a worker node's raylet and everything it started with SIGKILL."""
        raylet = psutil.Process(self.raylets.pop())
        for process in [raylet, *raylet.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)


@contextlib.contextmanager
def ray_cluster(workers: list[dict[str, float]], *, token: str | None) -> Iterator[RayCluster]:
    """Yield a cluster of a CPU-less head and one worker for each (CPUs, GPUs). `token=None` needs no token."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # short: a socket's path has 107 bytes
    environment = {
        **os.environ,
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # every port on loopback
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TMPDIR": str(folder),
        "RAY_AUTH_MODE": "disabled" if token is None else "token",
        "HOME": str(folder),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    if token is not None:
        (folder / "token").write_text(token)
        environment["RAY_AUTH_TOKEN_PATH"] = str(folder / "token")
    command = [sys.executable, "-W", "ignore", "-m", "tests.cluster.ray_cluster", json.dumps(workers)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=Path(__file__).parents[2], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=log, text=True,
        )  # fmt: skip
    try:
        yield RayCluster(folder, process, environment)
    finally:
        family = psutil.Process(process.pid).children(recursive=True)
        process.communicate(timeout=60)
        for left in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                left.kill()
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    from ray.cluster_utils import Cluster

    def own(name: str) -> dict[str, Any]:
        """Return a node's own folder for unpacked job files, as if it were another machine."""
        folder = f"{os.environ['RAY_TMPDIR']}/{name}"
        return {"node_ip_address": "127.0.0.1", "object_store_memory": 100_000_000, "temp_dir": folder}

    head = {"num_cpus": 0, "include_dashboard": True, "dashboard_port": 0, "dashboard_agent_listen_port": 0}
    cluster = Cluster(initialize_head=True, head_node_args={**own("ray"), **head})
    wanted = enumerate(json.loads(sys.argv[1]))
    nodes = [cluster.add_node(wait=False, **own(f"w{i}"), **worker) for i, worker in wanted]
    cluster.wait_for_nodes()
    raylets = [node.all_processes["raylet"][0].process.pid for node in nodes]
    dashboard = f"http://{cluster.head_node.webui_url}"
    print(json.dumps({"address": cluster.address, "dashboard": dashboard, "raylets": raylets}), flush=True)
    sys.stdin.read()
    for node in nodes:
        cluster.remove_node(node, allow_graceful=False)
    cluster.remove_node(cluster.head_node, allow_graceful=False)


if __name__ == "__main__":
    main()
