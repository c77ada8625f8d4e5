"""The hardware that a sweep would run on, without starting Ray."""

from __future__ import annotations

from typing import NamedTuple

from trainables.cpus import cpus
from tune_app.cluster.ray import Cluster, join
from tune_app.cluster.slots import Node, slots
from tune_app.cluster.this_machine import local_gpus
from tune_app.config.schema import ResourcesConfig


class Hardware(NamedTuple):
    """CPUs and GPUs of this machine or of a cluster, and the number of trials that run there at once."""

    cpus: float
    gpus: float
    slots: int


def hardware_at(address: str | None, resources: ResourcesConfig) -> Hardware:
    """Return the hardware of this machine, or of the cluster at `address`, which stays joined."""
    nodes: list[Node] = [{"CPU": float(cpus()), "GPU": float(local_gpus())}]
    if address is not None:
        join(address)
        import ray

        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpu, gpu = (sum(node.get(kind, 0.0) for node in nodes) for kind in ("CPU", "GPU"))
    return Hardware(cpu, gpu, sum(slots(resources, node) for node in nodes))


def hardware_of(cluster: Cluster) -> Hardware:
    """Return the hardware of a cluster that has been joined."""
    return Hardware(cluster.cpus, cluster.gpus, cluster.slots)
