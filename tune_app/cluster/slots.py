"""How many trials fit where, and which share of a GPU holds one: arithmetic alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tune_app.config.schema import ResourcesConfig

Node = dict[str, float]
"""What a node has: CPU, GPU, memory and whatever else Ray counts."""

UNIT = 10_000
"""Ray counts in so many parts of a CPU or GPU, and rounds."""
SHARES = tuple(UNIT // n / UNIT for n in (8, 6, 5, 4, 3, 2, 1))
"""Of a GPU, rounded down: six times Ray's own 1/6 (0.1667) is more than one."""
CONTEXT_GB, MARGIN = 0.6, 1.1
"""What CUDA takes of a GPU for each process beside the memory that torch counts, and room for what was not probed."""


def slots(resources: ResourcesConfig, node: Node) -> int:
    """Trials that fit on one node at once; a fraction of a GPU is never spread over two."""
    by_cpu = _units(node.get("CPU", 0)) // max(1, _units(resources.cpu))
    share, gpus = _units(resources.gpus), _units(node.get("GPU", 0))
    if share == 0:
        return by_cpu
    return min(by_cpu, gpus // UNIT * (UNIT // share) if share <= UNIT else gpus // share)


def share(need_gb: float, total_gb: float) -> float | None:
    """The smallest share of a GPU with `total_gb` that holds a trial of `need_gb`; None where a whole one does not."""
    taken = need_gb * MARGIN + CONTEXT_GB
    return next((share for share in SHARES if taken <= share * total_gb), None)


def described(nodes: Sequence[Node]) -> str:
    """What a cluster has, in words: equal nodes counted."""
    counted = Counter(f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes)
    return ", ".join(f"{count} x {what}" if len(nodes) > 1 else what for what, count in counted.items()) or "no node"


def _units(amount: float) -> int:
    return round(amount * UNIT)
