"""Ask every other node of the cluster whether it can do something."""

from collections.abc import Callable, Mapping

ANSWER_SECONDS = 90.0


def other_nodes() -> dict[str, str]:
    """Return the address of each node of the cluster except the driver's, by its id."""
    import ray

    me = ray.get_runtime_context().get_node_id()
    return {
        node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"] and node["NodeID"] != me
    }


def complaints(nodes: Mapping[str, str], ask: Callable[..., str], *args: object) -> list[str]:
    """Return the complaint of each node for which `ask(*args)` returns one there, with the node's address.

    A node that dies meanwhile has none: the head lists it for a while longer.
    """
    import ray
    from ray.exceptions import NodeDiedError, RayError, TaskUnschedulableError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task, running = ray.remote(num_cpus=0, max_retries=0)(ask), {}
    for node in nodes:
        there = NodeAffinitySchedulingStrategy(node, soft=False)
        running[task.options(scheduling_strategy=there).remote(*args)] = node
    done, late = ray.wait(list(running), num_returns=len(running), timeout=ANSWER_SECONDS)
    wrong = {running[object_ref]: "does not answer" for object_ref in late}
    for object_ref in done:
        try:
            complaint = ray.get(object_ref)
        except (NodeDiedError, TaskUnschedulableError):
            continue
        except RayError as error:
            complaint = f"cannot run tune_app ({str(error).strip().splitlines()[-1]}); install it there, or use submit"
        if complaint:
            wrong[running[object_ref]] = complaint
    alive = other_nodes() if wrong else {}
    return [f"{address} {wrong[node]}" for node, address in nodes.items() if node in wrong and node in alive]
