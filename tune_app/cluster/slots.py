"""The number of trials that fit on a node, and the share of a GPU that a trial needs."""

from collections import Counter
from collections.abc import Sequence

from tune_app.config.schema import ResourcesConfig

Node = dict[str, float]
"""Resources of a node as Ray counts them: CPU, GPU, memory and more."""

UNIT = 10_000
"""Ray counts in this many parts of a CPU or GPU, and rounds."""
SHARES = tuple(UNIT // n / UNIT for n in (8, 6, 5, 4, 3, 2, 1))
"""Shares of a GPU, rounded down, because six times Ray's 1/6 (0.1667) is more than one."""
CONTEXT_GB, MARGIN = 0.6, 1.1
"""Memory that CUDA takes for each process and torch does not count, and a margin for what was not measured."""


def slots(resources: ResourcesConfig, node: Node) -> int:
    """Return the number of trials that fit on a node at once. A share of a GPU never spans two GPUs."""
    by_cpu = _units(node.get("CPU", 0)) // max(1, _units(resources.cpu))
    share, gpus = _units(resources.gpus), _units(node.get("GPU", 0))
    if share == 0:
        return by_cpu
    return min(by_cpu, gpus // UNIT * (UNIT // share) if share <= UNIT else gpus // share)


def share(need_gb: float, total_gb: float) -> float | None:
    """Return the smallest share of a GPU of `total_gb` for a trial of `need_gb`; None if the GPU is too small."""
    taken = need_gb * MARGIN + CONTEXT_GB
    return next((share for share in SHARES if taken <= share * total_gb), None)


def described(nodes: Sequence[Node]) -> str:
    """Return the nodes of a cluster as text, with the number of equal nodes."""
    counted = Counter(f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes)
    return ", ".join(f"{count} x {what}" if len(nodes) > 1 else what for what, count in counted.items()) or "no node"


def _units(amount: float) -> int:
    return round(amount * UNIT)
