"""The Ray that a sweep runs on: started privately on loopback or joined, checked before the start, warmed, and left."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.contract import RunSpec
from tune_app.cluster.scratch import scratch_folder
from tune_app.cluster.slots import Node, described, slots
from tune_app.cluster.this_machine import cpus, local_gpus
from tune_app.config.schema import ResourcesConfig
from tune_app.errors import InputError, TuneAppError

if TYPE_CHECKING:
    from ray import ObjectRef

    from trainables.ray_worker import Prepared

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
JOINED = {"RAY_NUM_REDIS_GET_RETRIES": "3"}  # something listens there; what does not let us in now will not in a minute
CREDENTIAL_PLACES = "RAY_AUTH_TOKEN, a file named by RAY_AUTH_TOKEN_PATH, or ~/.ray/auth_token"
SECRETS = ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")
CONNECT_SECONDS, LOOK_SECONDS, WORD_SECONDS = 5.0, 2.0, 60.0
PATIENCE_SECONDS = 1800.0
"""How long the start waits for a node that an autoscaler may add."""
NODE_GROUP = "ray.io/node-group"
"""Label of nodes that KubeRay or the cluster launcher has started, and may start more of."""


@dataclass
class Cluster:
    """What there is to run on; `slots` trials at once."""

    cpus: float
    gpus: float
    slots: int
    local: bool
    scratch: Path
    """A private folder for what Ray writes of its own."""
    resources: ResourcesConfig = field(default_factory=ResourcesConfig)
    """What a trial occupies."""
    _looked: float = 0.0
    _spare: int = 0
    """One trial more than fits is kept waiting where an autoscaler may answer that with another node."""

    def room(self) -> int:
        """Trials that may be given out now: `slots`, counted anew on a cluster, whose nodes come and go."""
        if not self.local and time.monotonic() - self._looked > LOOK_SECONDS:
            self._looked = time.monotonic()
            self.count()
            self._spare = int(_grows())
        return self.slots + self._spare

    def count(self) -> None:
        """Look at the nodes, and how many trials fit on them."""
        nodes = _nodes()
        self.cpus, self.gpus = (sum(node.get(kind, 0.0) for node in nodes) for kind in ("CPU", "GPU"))
        self.slots = sum(slots(self.resources, node) for node in nodes)


@contextmanager
def started(
    resources: ResourcesConfig, address: str | None, say: Callable[[str], None] = lambda _: None
) -> Iterator[Cluster]:
    """Ray, joined at `address` or started here and ended with the block; raises InputError if no trial would fit."""
    os.environ.update(TUNE)
    if address is None:
        os.environ.update(LOCAL)
        _check_fits(resources, [{"CPU": float(cpus()), "GPU": float(local_gpus())}], "this machine")
    private = scratch_folder()
    scratch = Path(tempfile.mkdtemp(dir=private))
    mask = os.umask(0o077)
    try:
        if address is None:
            # in a file of ours, as Ray's own place for it is the home folder, which may not be writable
            os.environ["RAY_AUTH_TOKEN_PATH"] = str(private / "token")
            with _small_processes():
                _connect(**_private(scratch))
        else:
            join(address)
            _await_room(resources, say)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.default_int_handler)  # Ray's own would leave with an exit code of 1
        cluster = Cluster(0, 0, 0, local=address is None, scratch=scratch, resources=resources)
        cluster.count()
        yield cluster
    finally:
        with suppress(ImportError):
            import ray

            ray.shutdown()
        os.umask(mask)
        shutil.rmtree(scratch, ignore_errors=True)


def gpus(address: str | None) -> int:
    """GPUs of this machine, or of the Ray cluster at `address`, which stays joined."""
    if address is None:
        return local_gpus()
    join(address)
    import ray

    return int(ray.cluster_resources().get("GPU", 0))


def join(address: str) -> None:
    """Make this process a driver of the cluster at `address`. Raises InputError."""
    if address.startswith("ray://"):
        raise InputError(
            f"--address {address}: a sweep's log is written by its driver, which Ray's client cannot carry to the head",
            hint="use `tune_app submit SPACE --address http://HEAD:8265`, or --address host:port on a node of it",
        )
    os.environ.update({**TUNE, **JOINED})
    use_token()
    import ray

    if not ray.is_initialized():
        workers = {"env_vars": {name: TUNE[name] for name in ("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO",)}}
        _connect(address=address, runtime_env=workers)


def use_token() -> None:
    """Have Ray send the token that lies in one of its own places, unless it is told not to."""
    places = [os.environ.get("RAY_AUTH_TOKEN_PATH"), Path("~/.ray/auth_token").expanduser()]
    if os.environ.get("RAY_AUTH_TOKEN") or any(place and Path(place).is_file() for place in places):
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def token_rejected(address: str) -> InputError:
    """Return the error for a cluster that rejects our token."""
    return InputError(
        f"--address {address}: the cluster rejected the token, or no token was found",
        hint=f"put the cluster's token into {CREDENTIAL_PLACES}",
    )


def _connect(**arguments: Any) -> None:
    """ray.init, with a sentence where it fails."""
    import ray
    from ray._private import worker
    from ray.exceptions import AuthenticationError

    worker._worker_logs_enabled = False  # else Ray prints its own words of lost workers into ours
    where = arguments["address"]
    _check_answers(where)
    try:
        with _secrets_kept():
            ray.init(**arguments, log_to_driver=False, logging_level="error", configure_logging=True)
    except SystemExit:  # what Ray makes of a SIGTERM while it starts
        raise KeyboardInterrupt from None
    except AuthenticationError:
        raise token_rejected(where) from None
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        lines = [line.strip() for line in str(error).strip().splitlines()]
        if lines[0].startswith("Version mismatch"):
            theirs, ours = lines[1:3], lines[4:6]
            raise InputError(
                f"--address {where}: the cluster runs {', '.join(theirs)}; this process {', '.join(ours)}",
                hint="both must be the same; `tune_app submit` runs the sweep with the cluster's own",
            ) from None
        if where == "local":
            raise InputError(f"Ray did not start on this machine: {lines[0]}") from None
        raise InputError(
            f"--address {where}: there is no Ray, or one that does not take this token ({lines[0]})",
            hint=f"the token is looked for in {CREDENTIAL_PLACES}",
        ) from None
    except Exception as error:
        if type(error) is not Exception:  # which is all that Ray says of a node that does not come up in time
            raise
        raise TuneAppError(f"Ray did not start: {error}", hint="the machine may be too busy; try again") from error


@contextmanager
def _small_processes() -> Iterator[None]:
    """Have Ray's helpers load only what plain `ray` has: with `ray[default]` installed, about two CPU seconds less."""
    from ray._private import utils

    found = utils.get_dashboard_dependency_error
    utils.get_dashboard_dependency_error = lambda: ImportError("not wanted here")
    try:
        yield
    finally:
        utils.get_dashboard_dependency_error = found


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


def _private(scratch: Path) -> dict[str, Any]:
    return {
        "address": "local",
        "num_cpus": cpus(),
        "num_gpus": local_gpus(),
        "include_dashboard": False,
        "object_store_memory": 256 * 2**20,
        "_node_ip_address": "127.0.0.1",
        "_temp_dir": str(scratch / "ray"),
    }


def _nodes() -> list[Node]:
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _grows() -> bool:
    """Whether something may add nodes to the cluster when trials wait for one."""
    import ray

    return any(NODE_GROUP in (node.get("Labels") or {}) for node in ray.nodes())


def _await_room(resources: ResourcesConfig, say: Callable[[str], None]) -> None:
    """Return once a trial fits on a node of the cluster; raises InputError where none does and none will be added."""
    import ray

    began, wanted, asked = time.monotonic(), {"CPU": resources.cpu, "GPU": resources.gpus}, None
    while True:
        nodes = _nodes()
        if not _grows() or time.monotonic() - began > PATIENCE_SECONDS:
            _check_fits(resources, nodes, "no node of the cluster fits it: it")
        if any(slots(resources, node) for node in nodes):
            break
        if asked is None:  # a placement group, as it ends with this driver, however that dies
            asked = ray.util.placement_group([{kind: amount for kind, amount in wanted.items() if amount}])
        minutes = PATIENCE_SECONDS / 60
        say(f"waiting up to {minutes:g} minutes for a node with {described([wanted])}; there is {described(nodes)}")
        ray.wait([asked.ready()], timeout=WORD_SECONDS)
    if asked is not None:
        ray.util.remove_placement_group(asked)


def _check_fits(resources: ResourcesConfig, nodes: list[Node], where: str) -> None:
    if any(slots(resources, node) for node in nodes):
        return
    asked = {"CPU": resources.cpu, "GPU": resources.gpus}
    raise InputError(
        f"resources: a trial asks for {described([asked])}, but {where} has {described(nodes)}",
        hint="lower them, for instance with --set resources.gpu=0 --set resources.cpu=1, or take --profile laptop",
    )


def prepared(spec: RunSpec, *, features: str, saved: bytes, fid: bool) -> tuple[Prepared, ObjectRef]:
    """Decode the data of `spec` on a worker before the first trial is asked for, and make the sweep's yardstick.

    What the driver keeps of both, and where the yardstick lies in Ray's object store. Raises InputError where the data
    or the features cannot be used.
    """
    import ray
    from ray.exceptions import RayTaskError

    from trainables.contract import DataError
    from trainables.ray_worker import prepare

    kept, yardstick = ray.remote(prepare).options(num_returns=2).remote(spec, features, saved, fid)
    try:
        return ray.get(kept), yardstick
    except RayTaskError as error:
        if isinstance(error.cause, DataError):
            raise InputError(f"{error.cause.key}: {error.cause}") from None
        raise
