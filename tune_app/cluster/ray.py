"""The Ray cluster of a sweep: start a private one on loopback or join one, check it, and leave it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.contract import RunSpec
from trainables.cpus import cpus
from tune_app.cluster.health import DeathWatch, results
from tune_app.cluster.limits import OBJECT_STORE_BYTES, check_open_files, shared_memory_fault
from tune_app.cluster.ray_switches import (
    FOR_A_JOINED_CLUSTER,
    FOR_A_PRIVATE_RAY,
    FOR_EVERY_CLUSTER,
    FOR_WORKERS,
    silence_worker_logs,
    small_processes,
)  # fmt: skip
from tune_app.cluster.scratch import scratch_folder
from tune_app.cluster.secrets import secrets_kept
from tune_app.cluster.slots import Node, described, slots
from tune_app.cluster.this_machine import local_gpus
from tune_app.config.schema import ResourcesConfig
from tune_app.errors import InputError, TuneAppError, first_line

if TYPE_CHECKING:
    from ray import ObjectRef

    from trainables.ray_worker import Prepared

CREDENTIAL_PLACES = "RAY_AUTH_TOKEN, a file named by RAY_AUTH_TOKEN_PATH, or ~/.ray/auth_token"
CONNECT_SECONDS, POLL_SECONDS, NOTE_SECONDS, COUNT_SECONDS = 5.0, 2.0, 60.0, 2.0
PATIENCE_SECONDS = 1800.0
"""How long the start waits for a node that an autoscaler may add."""
_numbers = count()
"""Number of the next Ray that this process starts. It names a folder, whose path must be short."""
_started: list[str] = []
"""Address to which we have connected this process."""
NODE_GROUP = "ray.io/node-group"
"""Label of nodes started by KubeRay or the cluster launcher. Such a cluster may add nodes."""


@dataclass
class Cluster:
    """The resources of a cluster, with room for `slots` trials at once."""

    cpus: float
    gpus: float
    slots: int
    local: bool
    """True for a private Ray of this process."""
    scratch: Path
    """Private folder for the files that Ray writes."""
    resources: ResourcesConfig = field(default_factory=ResourcesConfig)
    """Share of the cluster that one trial occupies."""
    watch: DeathWatch | None = None
    ours: bool = True
    """True if we made the connection to the cluster. It ends with the sweep, and so does all that the sweep started."""
    _looked: float = 0.0
    _spare: int = 0
    """Number of trials that may wait although they do not fit, so that an autoscaler adds a node."""
    _counting: threading.Thread | None = None

    @property
    def logs(self) -> Path | None:
        """Folder with the output of every worker, if all of them run on this machine."""
        return self.scratch / "r" / "session_latest" / "logs" if self.local else None

    def room(self) -> int:
        """Return the number of trials that may run at once. A cluster is counted again, because nodes come and go."""
        asking = self._counting is not None and self._counting.is_alive()
        if not (self.local or asking) and time.monotonic() - self._looked > POLL_SECONDS:
            self._looked = time.monotonic()
            # in a thread, because a call to a head that has died does not return
            self._counting = threading.Thread(target=self._count_again, daemon=True)
            self._counting.start()
            self._counting.join(COUNT_SECONDS)
        return self.slots + self._spare

    def _count_again(self) -> None:
        from ray.exceptions import RayError

        with suppress(RayError):
            self.count()
            self._spare = int(_grows())

    def count(self) -> None:
        """Count the nodes' resources, and the trials that fit on them."""
        nodes = _nodes()
        self.cpus, self.gpus = (sum(node.get(kind, 0.0) for node in nodes) for kind in ("CPU", "GPU"))
        self.slots = sum(slots(self.resources, node) for node in nodes)


@contextmanager
def started(
    resources: ResourcesConfig,
    address: str | None,
    note: Callable[[str], None] = lambda _: None,
    storage: str | None = None,
    hint: str = "run the same command again",
) -> Iterator[Cluster]:
    """Yield the cluster at `address`, or a private Ray that ends with the block. Raise InputError if no trial fits.

    A private Ray sees only those of the caller's secrets that the `storage` needs. If the caller has started Ray in
    this process, use that one and leave it as it is. `hint` is printed if this process must end because Ray died.
    """
    os.environ.update(FOR_EVERY_CLUSTER)
    ours = not callers_ray()
    private_ray = ours and address is None
    if private_ray:
        os.environ.update(FOR_A_PRIVATE_RAY)
        _check_fits(resources, [{"CPU": float(cpus()), "GPU": float(local_gpus())}], "this machine")
        check_open_files()
    private = scratch_folder()
    scratch = private / f"{next(_numbers)}"
    scratch.mkdir()
    watch = DeathWatch(hint)
    try:
        if private_ray:
            # in a file of ours, because Ray's default is the home folder, which may not be writable
            os.environ["RAY_AUTH_TOKEN_PATH"] = str(private / "token")
            note("starting Ray on this machine")
            if fault := shared_memory_fault():
                note(f"{fault}: trials share their data through files in {private}, which is slower")
            watch.start()
            with small_processes(), secrets_kept(storage):
                _connect(**_private(scratch))
            watch.connected = True
        else:
            if ours:
                join(str(address))
                watch.start_joined()
            else:
                note("the sweep runs in the Ray that this process has already started")
            _await_room(resources, note)
        if ours and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.default_int_handler)  # Ray's own handler would exit with code 1
        cluster = Cluster(0, 0, 0, local=private_ray, ours=ours, watch=watch, scratch=scratch, resources=resources)
        cluster.count()
        yield cluster
    finally:
        if ours:
            with suppress(ImportError):
                import ray

                ray.shutdown()
            _started.clear()
        watch.end()
        shutil.rmtree(scratch, ignore_errors=True)


def callers_ray() -> bool:
    """Return True if Ray runs in this process and we have not started it."""
    ray = sys.modules.get("ray")
    return bool(ray and ray.is_initialized() and not _started)


def gpus(address: str | None) -> int:
    """Return the number of GPUs of this machine, or of the cluster at `address`. The cluster stays joined."""
    if address is None:
        return local_gpus()
    join(address)
    import ray

    return int(ray.cluster_resources().get("GPU", 0))


def join(address: str) -> None:
    """Make this process a driver of the cluster at `address`. Raise InputError if that fails."""
    if address.startswith("ray://"):
        raise InputError(
            f"--address {address}: Ray's client cannot run a sweep, because the driver writes the sweep's log",
            hint="use `tune_app submit SPACE --address http://HEAD:8265`, or --address host:port on one of its nodes",
        )
    os.environ.update({**FOR_EVERY_CLUSTER, **FOR_A_JOINED_CLUSTER})
    use_token()
    import ray

    if not ray.is_initialized():
        workers = {"env_vars": {name: FOR_EVERY_CLUSTER[name] for name in FOR_WORKERS}}
        _connect(address=address, runtime_env=workers)


def use_token() -> None:
    """Have Ray send the token if there is one in its usual places, unless RAY_AUTH_MODE says otherwise."""
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
    """Call ray.init. Turn its failures into InputError or TuneAppError."""
    import ray
    from ray.exceptions import AuthenticationError, RaySystemError

    silence_worker_logs()
    where = arguments["address"]
    _check_answers(where)
    try:
        ray.init(**arguments, log_to_driver=False, logging_level="error", configure_logging=True)
        _started.append(where)
    except SystemExit:  # Ray raises this for a SIGTERM while it starts
        raise KeyboardInterrupt from None
    except AuthenticationError:
        raise token_rejected(where) from None
    except RaySystemError as error:
        raise TuneAppError(f"Ray did not start: {first_line(error)}", hint="try again") from error
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        lines = [line.strip() for line in str(error).strip().splitlines()]
        if lines[0].startswith("Version mismatch"):
            theirs, ours = lines[1:3], lines[4:6]
            raise InputError(
                f"--address {where}: the cluster runs {', '.join(theirs)}; this process {', '.join(ours)}",
                hint="the versions must be equal; `tune_app submit` runs the sweep with the cluster's version",
            ) from None
        if where == "local":
            raise InputError(f"Ray did not start on this machine: {lines[0]}") from None
        raise InputError(
            f"--address {where}: there is no Ray, or it rejected the token ({lines[0]})",
            hint=f"the token is read from {CREDENTIAL_PLACES}",
        ) from None
    except Exception as error:
        if type(error) is not Exception:  # Ray raises a plain Exception only if a node does not start in time
            raise
        raise TuneAppError(f"Ray did not start: {error}", hint="the machine may be too busy; try again") from error


def _check_answers(address: str) -> None:
    """Raise InputError unless something listens at host:port. Ray itself would retry for minutes."""
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
        "object_store_memory": OBJECT_STORE_BYTES,
        # Ray itself fails if /dev/shm is missing or cannot be written
        "_plasma_directory": str(scratch) if shared_memory_fault() else None,
        "_node_ip_address": "127.0.0.1",
        "_temp_dir": str(scratch / "r"),
    }


def _nodes() -> list[Node]:
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _grows() -> bool:
    """Return True if an autoscaler may add nodes to the cluster."""
    import ray

    return any(NODE_GROUP in (node.get("Labels") or {}) for node in ray.nodes())


def _await_room(resources: ResourcesConfig, note: Callable[[str], None]) -> None:
    """Wait until a trial fits on a node. Raise InputError if none fits and none will be added."""
    import ray

    began, wanted, asked = time.monotonic(), {"CPU": resources.cpu, "GPU": resources.gpus}, None
    while True:
        nodes = _nodes()
        if not _grows() or time.monotonic() - began > PATIENCE_SECONDS:
            _check_fits(resources, nodes, "no node is large enough: the cluster")
        if any(slots(resources, node) for node in nodes):
            break
        if asked is None:  # a placement group, because it ends with this driver, even if the driver is killed
            asked = ray.util.placement_group([{kind: amount for kind, amount in wanted.items() if amount}])
        minutes = PATIENCE_SECONDS / 60
        note(f"waiting up to {minutes:g} minutes for a node with {described([wanted])}; there is {described(nodes)}")
        ray.wait([asked.ready()], timeout=NOTE_SECONDS)
    if asked is not None:
        ray.util.remove_placement_group(asked)


def _check_fits(resources: ResourcesConfig, nodes: list[Node], where: str) -> None:
    if any(slots(resources, node) for node in nodes):
        return
    asked = {"CPU": resources.cpu, "GPU": resources.gpus}
    raise InputError(
        f"resources: a trial asks for {described([asked])}, but {where} has {described(nodes)}",
        hint="lower the resources with --set resources.gpu=0 --set resources.cpu=1, or use --profile laptop",
    )


def prepared(
    spec: RunSpec,
    *,
    gpu: float,
    features: str,
    saved: bytes,
    fid: bool,
    version: int,
    note: Callable[[str], None],
    progress: Callable[[str], None],
) -> tuple[Prepared, ObjectRef]:
    """Decode the data and make the sample metrics on a worker, before the first trial starts.

    The worker has the share `gpu` of a GPU. Return the driver's summary of both, and the reference to the sample
    metrics in Ray's object store. Raise InputError if the data or the features cannot be used.
    """
    import ray
    from ray.exceptions import RayTaskError

    from trainables.contract import DataError
    from trainables.ray_worker import prepare

    what = f"preparing the images of {spec.data.name} and their features"
    note(what)
    outcome = (
        ray.remote(prepare).options(num_returns="streaming", num_gpus=gpu).remote(spec, features, saved, fid, version)
    )
    try:
        while isinstance(line := results([next(outcome)], what, note)[0], str):
            progress(line)
        return line, next(outcome)
    except RayTaskError as error:
        if isinstance(error.cause, DataError):
            raise InputError(f"{error.cause.key}: {error.cause}") from None
        raise
