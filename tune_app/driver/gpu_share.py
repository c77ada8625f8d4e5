"""`resources.gpu: auto`: the share of a GPU that the largest model of a search needs, measured before the start."""

from collections.abc import Callable, Iterator
from itertools import product

from search_spaces.distributions import Categorical, Scalar
from trainables.gpu_memory import Need
from tune_app.cluster.health import results
from tune_app.cluster.ray import Cluster
from tune_app.cluster.slots import share
from tune_app.config.schema import SweepConfig
from tune_app.driver.shared_data import SharedData
from tune_app.driver.trial_spec import run_spec
from tune_app.errors import InputError
from tune_app.experiment.elsewhere import lies_elsewhere

ACCELERATOR = "accelerator_type:"
"""Prefix of the Ray resources that name a kind of GPU."""


def settle_gpu_share(
    config: SweepConfig, cluster: Cluster, data: SharedData, note: Callable[[str], None]
) -> SweepConfig:
    """Return `config` with `resources.gpu: auto` replaced by a number, and count the cluster's slots again.

    Raise InputError if the largest model does not fit on a GPU.
    """
    if config.resources.gpu != "auto":
        return config
    gpu = 0.0
    for kind in _kinds():
        worst = max(_measure(config, kind, data, note), key=lambda need: need.gb / need.gpu_gb)
        fitting = share(worst.gb, worst.gpu_gb)
        if fitting is None:
            raise InputError(
                f"resources.gpu: auto: a trial needs up to {worst.gb:.1f} GB, "
                f"and a {worst.gpu} has {worst.gpu_gb:.0f} GB",
                hint="lower the largest width or batch_size that is searched",
            )
        note(
            f"resources.gpu: auto: a trial needs up to {worst.gb:.1f} GB of the {worst.gpu}'s {worst.gpu_gb:.0f} GB, "
            f"so each trial gets {fitting:g} of a GPU"
        )
        gpu = max(gpu, fitting)
    resources = config.resources.model_copy(update={"gpu": gpu})
    cluster.resources = resources
    cluster.count()
    return config.model_copy(update={"resources": resources})


def largest(config: SweepConfig) -> Iterator[dict[str, Scalar]]:
    """Yield the searched parameters that need most memory: all categories combined, all numbers at their highest.

    Baselines that change what is not searched follow.
    The learning rate stays at its lowest, because a high one may end in NaN and needs no more memory.
    """
    choices: list[list[tuple[str, Scalar]]] = []
    for name, p in config.space.training.items():
        if not isinstance(p, Categorical):
            values: list[Scalar] = [p.low if name == "lr" else p.high]
        elif all(isinstance(choice, int | float) and not isinstance(choice, bool) for choice in p.choices):
            values = [max(p.choices)]
        else:
            values = [*p.choices]
        choices.append([(name, value) for value in values])
    outside = [baseline for baseline in config.baselines if lies_elsewhere(baseline, config.constants)]
    for point in product(*choices):
        for baseline in ({}, *outside):
            yield {**dict(point), **baseline}


def _kinds() -> list[str | None]:
    """Return the kinds of GPU in the cluster, or [None] if Ray does not know them."""
    import ray

    return sorted(name for name in ray.cluster_resources() if name.startswith(ACCELERATOR)) or [None]


def _measure(config: SweepConfig, kind: str | None, data: SharedData, note: Callable[[str], None]) -> list[Need]:
    """Return the memory that each of the largest models needs on a GPU of that kind."""
    import ray
    from ray.exceptions import RayTaskError

    from trainables.ray_worker import need

    of_kind = {} if kind is None else {"resources": {kind: 0.001}}
    task = ray.remote(need).options(num_gpus=1, num_cpus=config.resources.cpu, max_retries=0, **of_kind)
    runs = [run_spec(config, params, seed=0) for params in largest(config)]
    try:
        tasks = [task.remote(run, data.sample_metrics) for run in runs]
        return [Need(*need) for need in results(tasks, "measuring the memory of the largest models on a GPU", note)]
    except RayTaskError as error:
        raise InputError(
            f"resources.gpu: auto: the largest model of the search could not be run: {error.cause}",
            hint="lower the largest width or batch_size that is searched, or give resources.gpu a number",
        ) from None
