"""Before a sweep starts on several machines: every one of them proves that it sees and writes the experiment folder."""

from __future__ import annotations

import time
from pathlib import Path
from secrets import token_hex
from typing import Any

from tune_app.errors import InputError

SEE_SECONDS, ANSWER_SECONDS = 5.0, 90.0
MARKER = ".unfinished-shared-"


def check_shared(out: Path) -> None:
    """Raise InputError unless each node of the joined cluster sees what the driver writes in `out`, and may write."""
    import ray

    me = ray.get_runtime_context().get_node_id()
    others = {node["NodeID"]: node for node in ray.nodes() if node["Alive"] and node["NodeID"] != me}
    if not others:
        return
    folder = out.absolute()
    while not folder.exists():
        folder = folder.parent
    marker, secret = folder / f"{MARKER}{token_hex(8)}", token_hex(16)
    marker.write_text(secret)
    try:
        wrong = _asked(others, marker, secret)
    finally:
        marker.unlink(missing_ok=True)
    if wrong:
        raise InputError(
            f"{out} is not shared by the nodes of the cluster: " + "; ".join(wrong),
            hint="mount one folder (NFS or the like) at the same path on every node, and name it with --out DIR; "
            "or run on a single node",
        )


def _asked(nodes: dict[str, Any], marker: Path, secret: str) -> list[str]:
    """What each node says against it, with its address."""
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task, going = ray.remote(num_cpus=0, max_retries=0)(seen), {}
    for node, about in nodes.items():
        there = NodeAffinitySchedulingStrategy(node, soft=False)
        going[task.options(scheduling_strategy=there).remote(str(marker), secret)] = about["NodeManagerAddress"]
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


def seen(marker: str, secret: str) -> str:
    """On a node: what is wrong with the folder of `marker`, or nothing."""
    deadline = time.monotonic() + SEE_SECONDS  # a network file system may be slow to tell
    while not (Path(marker).is_file() and Path(marker).read_text() == secret):
        if time.monotonic() > deadline:
            return "does not see what this one writes there"
        time.sleep(0.1)
    answer = Path(f"{marker}.{token_hex(4)}")
    try:
        answer.write_text(secret)
        answer.unlink()
    except OSError as error:
        return f"cannot write there ({error.strerror})"
    return ""
