"""Before a sweep starts on several machines: each proves that it sees and writes where its checkpoints will lie."""

from __future__ import annotations

import time
from pathlib import Path
from secrets import token_hex
from typing import Any

from trainables import storage
from tune_app.errors import InputError

SEE_SECONDS, ANSWER_SECONDS = 5.0, 90.0
STORAGE_HINT = (
    "it is an address like s3://BUCKET/FOLDER, gs:// or any of fsspec's; each node needs its own credentials there, "
    "and for fsspec's the package of that kind of storage"
)
MARKER = ".unfinished-shared-"


def check_shared(out: Path, address: str | None) -> None:
    """Raise InputError unless each node of the joined cluster sees what the driver writes in `out`, and may write.

    With an `address` of the storage it is there that they meet.
    """
    import ray

    me = ray.get_runtime_context().get_node_id()
    others = {node["NodeID"]: node for node in ray.nodes() if node["Alive"] and node["NodeID"] != me}
    if not others and not address:
        return
    folder = out.absolute()
    while not folder.exists():
        folder = folder.parent
    place, marker, secret = address or str(folder), f"{MARKER}{token_hex(8)}", token_hex(16)
    try:
        storage.touch(storage.below(place, marker), secret.encode())
        try:
            complaint = seen(place, marker, secret)
            wrong = [f"this machine {complaint}"] if complaint else _asked(others, place, marker, secret)
        finally:
            storage.remove(storage.below(place, marker))
    except (OSError, ValueError, ImportError) as error:
        raise InputError(f"storage: {address or out}: {_first(error)}", hint=STORAGE_HINT) from None
    if wrong and address:
        raise InputError(f"storage: {address} is not reached by every node: {'; '.join(wrong)}", hint=STORAGE_HINT)
    if wrong:
        raise InputError(
            f"{out} is not shared by the nodes of the cluster: " + "; ".join(wrong),
            hint="mount one folder (NFS or the like) at the same path on every node, and name it with --out DIR; "
            "or keep the checkpoints elsewhere with --set storage=s3://BUCKET/FOLDER; or run on a single node",
        )


def _asked(nodes: dict[str, Any], place: str, marker: str, secret: str) -> list[str]:
    """What each node says against it, with its address."""
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task, going = ray.remote(num_cpus=0, max_retries=0)(seen), {}
    for node, about in nodes.items():
        there = NodeAffinitySchedulingStrategy(node, soft=False)
        going[task.options(scheduling_strategy=there).remote(place, marker, secret)] = about["NodeManagerAddress"]
    done, late = ray.wait(list(going), num_returns=len(going), timeout=ANSWER_SECONDS)
    wrong = [f"{going[reference]} gives no answer" for reference in late]
    for reference in done:
        try:
            complaint = ray.get(reference)
        except RayError as error:
            complaint = f"cannot run tune_app ({str(error).strip().splitlines()[-1]}); install it there, or use submit"
        if complaint:
            wrong.append(f"{going[reference]} {complaint}")
    return wrong


def seen(place: str, marker: str, secret: str) -> str:
    """On a node: what is wrong with the folder `place`, in which `marker` holds `secret`, or nothing."""
    deadline = time.monotonic() + SEE_SECONDS  # a network file system may be slow to tell
    try:
        while storage.content(storage.below(place, marker)) != secret.encode():
            if time.monotonic() > deadline:
                return "does not see what the driver writes there"
            time.sleep(0.1)
        answer = storage.below(place, f"{marker}.{token_hex(4)}")
        storage.touch(answer)
        storage.remove(answer)
    except (OSError, ValueError, ImportError) as error:
        return f"cannot use it ({_first(error)})"
    return ""


def _first(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
