"""The Ray that a sweep runs on: started privately on loopback or joined, checked before the start, warmed, and left."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import floor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.model import RunSpec
from tune_app.config.models import ResourcesConfig
from tune_app.driver.machine import cpus, local_gpus
from tune_app.driver.scratch import scratch_folder
from tune_app.errors import InputError

if TYPE_CHECKING:
    from ray import ObjectRef

    from trainables.ray_trainable import Prepared

# read by Ray when it is imported; Tune's own snapshots, tables, loggers and signal handling stay out of the way
TUNE = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_SLOW_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "1000000",
    # never buffered: with a checkpoint in the buffer Tune 2.60 can start a trial's next step twice, out of order
    "TUNE_RESULT_BUFFER_LENGTH": "1",
}
LOCAL = {
    # the switch of macOS and Windows, where Ray binds to the address it is given: every port on loopback alone
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "token",
}
SECRETS = ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")
CONNECT_SECONDS = 5.0


@dataclass(frozen=True)
class Cluster:
    """What there is to run on; `slots` trials at once."""

    cpus: float
    gpus: float
    slots: int
    local: bool
    scratch: Path
    """A private folder for what Ray writes of its own."""


@contextmanager
def started(resources: ResourcesConfig, address: str | None) -> Iterator[Cluster]:
    """Ray, joined at `address` or started here and ended with the block; raises InputError if no trial would fit."""
    os.environ.update(TUNE)
    if address is None:
        os.environ.update(LOCAL)
        _check_local(resources)
    private = scratch_folder()
    scratch = Path(tempfile.mkdtemp(dir=private))
    mask = os.umask(0o077)
    try:
        if address is None:
            # in a file of ours, as Ray's own place for it is the home folder, which may not be writable
            os.environ["RAY_AUTH_TOKEN_PATH"] = str(private / "token")
        _connect(**_arguments(address, scratch))
        yield _look(resources, local=address is None, scratch=scratch)
    finally:
        with suppress(ImportError):
            import ray

            ray.shutdown()
        os.umask(mask)
        shutil.rmtree(scratch, ignore_errors=True)


def gpus(address: str | None) -> int:
    """GPUs of this machine, or of the Ray cluster at `address`."""
    if address is None:
        return local_gpus()
    os.environ.update(TUNE)
    _connect(address=address, log_to_driver=False, logging_level="error")
    import ray

    try:
        return int(ray.cluster_resources().get("GPU", 0))
    finally:
        ray.shutdown()


def _connect(**arguments: Any) -> None:
    """ray.init, with a sentence where it fails."""
    import ray
    from ray._private import worker

    worker._worker_logs_enabled = False  # else Ray prints its own words of lost workers into ours
    _check_answers(arguments["address"])
    try:
        with _secrets_kept():
            ray.init(**arguments)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        first = str(error).strip().splitlines()[0]
        where = arguments["address"]
        message = "Ray did not start on this machine" if where == "local" else f"--address {where}: no cluster answers"
        raise InputError(f"{message}: {first}") from None


@contextmanager
def _secrets_kept() -> Iterator[None]:
    """Keep W&B's key out of the environment that Ray's processes inherit."""
    kept = {name: os.environ.pop(name) for name in SECRETS if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def _check_answers(address: str) -> None:
    """Raise InputError unless something listens at host:port, for Ray itself would try for minutes."""
    host, _, port = address.rpartition("//")[2].rpartition(":")
    if not port.isdigit():
        return  # `local` and `auto`
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"--address {address}: nothing answers there ({error})") from None


def _arguments(address: str | None, scratch: Path) -> dict[str, Any]:
    common: dict[str, Any] = {"log_to_driver": False, "logging_level": "error", "configure_logging": True}
    if address is not None:
        return {**common, "address": address}
    return {
        **common,
        "address": "local",
        "num_cpus": cpus(),
        "num_gpus": local_gpus(),
        "include_dashboard": False,
        "object_store_memory": 256 * 2**20,
        "_node_ip_address": "127.0.0.1",
        "_temp_dir": str(scratch / "ray"),
    }


def _check_local(resources: ResourcesConfig) -> None:
    _check_fits(resources, [{"CPU": float(cpus()), "GPU": float(local_gpus())}], "this machine")


def _check_fits(resources: ResourcesConfig, nodes: list[dict[str, float]], where: str) -> None:
    for node in nodes:
        if resources.cpu <= node.get("CPU", 0) and resources.gpu <= node.get("GPU", 0):
            return
    most = ", ".join(f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes)
    raise InputError(
        f"resources: a trial asks for {resources.cpu:g} CPUs and {resources.gpu:g} GPUs, but {where} has {most}",
        hint="lower them, for instance with --set resources.gpu=0 --set resources.cpu=1, or take --profile laptop",
    )


def _look(resources: ResourcesConfig, *, local: bool, scratch: Path) -> Cluster:
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    _check_fits(resources, nodes, "this machine" if local else "no node of the cluster fits it: it")
    slots = sum(_slots(resources, node) for node in nodes)
    total = [sum(node.get(kind, 0.0) for node in nodes) for kind in ("CPU", "GPU")]
    return Cluster(cpus=total[0], gpus=total[1], slots=slots, local=local, scratch=scratch)


def _slots(resources: ResourcesConfig, node: dict[str, float]) -> int:
    """Trials that fit on one node at once; a fraction of a GPU is never spread over two."""
    by_cpu = floor(node.get("CPU", 0) / resources.cpu + 1e-9)
    if resources.gpu == 0:
        return by_cpu
    gpus = floor(node.get("GPU", 0) + 1e-9)
    by_gpu = gpus * floor(1 / resources.gpu + 1e-9) if resources.gpu <= 1 else floor(gpus / resources.gpu)
    return min(by_cpu, by_gpu)


def prepared(spec: RunSpec, *, features: str, saved: bytes, fid: bool) -> tuple[Prepared, ObjectRef]:
    """Decode the data of `spec` on a worker before the first trial is asked for, and make the sweep's yardstick.

    What the driver keeps of both, and where the yardstick lies in Ray's object store. Raises InputError where the data
    or the features cannot be used.
    """
    import ray
    from ray.exceptions import RayTaskError

    from trainables.model import DataError
    from trainables.ray_trainable import prepare

    kept, yardstick = ray.remote(prepare).options(num_returns=2).remote(spec, features, saved, fid)
    try:
        return ray.get(kept), yardstick
    except RayTaskError as error:
        if isinstance(error.cause, DataError):
            raise InputError(f"{error.cause.key}: {error.cause}") from None
        raise
