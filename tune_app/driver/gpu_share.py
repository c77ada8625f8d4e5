"""`resources.gpu: auto`: the share of a GPU that the largest model of a search needs, measured before the start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

from search_spaces.distributions import Categorical
from tune_app.cluster.ray import Cluster
from tune_app.cluster.slots import share
from tune_app.config.schema import SweepConfig
from tune_app.driver.trial_spec import Basis, run_spec
from tune_app.errors import InputError

ACCELERATOR = "accelerator_type:"
"""How Ray's resources name a kind of GPU."""


def settled(config: SweepConfig, cluster: Cluster, basis: Basis, say: Callable[[str], None]) -> SweepConfig:
    """`config` with a number for `resources.gpu: auto`, and the cluster's slots counted by it. Raises InputError."""
    if config.resources.gpu != "auto":
        return config
    from trainables.gpu_memory import Need

    found = 0.0
    for kind in _kinds():
        needs = [Need(*need) for need in _measured(config, kind, basis)]
        worst = max(needs, key=lambda need: need.gb / need.gpu_gb)
        fitting = share(worst.gb, worst.gpu_gb)
        if fitting is None:
            raise InputError(
                f"resources.gpu: auto: a trial needs up to {worst.gb:.1f} GB, and a {worst.gpu} has {worst.gpu_gb:.0f}",
                hint="lower the largest width or batch_size that is searched",
            )
        say(f"resources.gpu: auto: a trial needs up to {worst.gb:.1f} of the {worst.gpu_gb:.0f} GB of a {worst.gpu}, "
            f"so it gets {fitting:g} of it")  # fmt: skip
        found = max(found, fitting)
    return fixed(config, cluster, found)


def fixed(config: SweepConfig, cluster: Cluster, gpu: float) -> SweepConfig:
    """`config` with `gpu`, and the cluster's slots counted by it."""
    resources = config.resources.model_copy(update={"gpu": gpu})
    cluster.resources = resources
    cluster.count()
    return config.model_copy(update={"resources": resources})


def largest(config: SweepConfig) -> Iterator[dict[str, Any]]:
    """Searched parameters at the values that need most memory: every combination of names, all numbers at their top."""
    choices = []
    for name, p in config.space.training.items():
        if not isinstance(p, Categorical):
            values: list[Any] = [p.low if name == "lr" else p.high]  # a high rate may end in no numbers, needs no more
        elif all(isinstance(choice, int | float) and not isinstance(choice, bool) for choice in p.choices):
            values = [max(p.choices)]
        else:
            values = [*p.choices]
        choices.append([(name, value) for value in values])
    for point in product(*choices):
        yield dict(point)


def _kinds() -> list[str | None]:
    """The kinds of GPU in the cluster, where Ray knows them."""
    import ray

    return sorted(name for name in ray.cluster_resources() if name.startswith(ACCELERATOR)) or [None]


def _measured(config: SweepConfig, kind: str | None, basis: Basis) -> list[Any]:
    """The need of each of the largest models, on a GPU of that kind."""
    import ray
    from ray.exceptions import RayTaskError

    from trainables.ray_worker import need

    of_kind = {} if kind is None else {"resources": {kind: 0.001}}
    task = ray.remote(need).options(num_gpus=1, num_cpus=config.resources.cpu, max_retries=0, **of_kind)
    try:
        return list(
            ray.get([task.remote(run_spec(config, params, seed=0), basis.yardstick) for params in largest(config)])
        )
    except RayTaskError as error:
        raise InputError(
            f"resources.gpu: auto: the largest model of the search could not be tried: {error.cause}",
            hint="lower the largest width or batch_size that is searched, or give resources.gpu a number",
        ) from None
