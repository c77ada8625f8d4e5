"""`plan --measure`: train a few settings of the space for some seconds, as many at once as there would be trials."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import cycle, islice
from math import ceil
from random import Random
from statistics import fmean

from search_spaces.distributions import Scalar
from trainables.catalog import MODELS
from trainables.probe import ProbedCost
from tune_app.cluster import ray as ray_cluster
from tune_app.cluster.health import results
from tune_app.cluster.packages import check_packages
from tune_app.cluster.ray import Cluster
from tune_app.config.schema import SweepConfig
from tune_app.driver.forecast import Basis
from tune_app.driver.gpu_share import settle_gpu_share
from tune_app.driver.shared_data import SharedData, prepare_data
from tune_app.driver.trial_spec import run_spec, threads, trial_seed
from tune_app.errors import TuneAppError
from tune_app.experiment.forecast import TrialCost
from tune_app.trackers.console import Quiet

Params = dict[str, Scalar]

PROBE_SECONDS = 20.0
"""Seconds of all measurements together."""
LEAST_SETTINGS = 6
"""Settings that are measured at least. They are more if more trials run at once, so that no slot is idle."""
COLD_SECONDS = 15.0
"""A preparation that takes longer has filled the cache. The sweep itself will find it filled."""


def probe(config: SweepConfig, address: str | None, console: Quiet) -> tuple[SweepConfig, Basis]:
    """Measure what the trials of a sweep cost. Return `config` with the share of a GPU settled, and the costs.

    Raise InputError if the machine or the data does not allow the sweep, and TuneAppError if no setting can be trained.
    """
    began = time.monotonic()
    with ray_cluster.started(config.resources, address, console.note, config.storage) as cluster:
        check_packages(MODELS.plugins_of(config.model))
        until_ray = time.monotonic() - began
        data, preparation = _prepared(config, console)
        config = settle_gpu_share(config, cluster, data, console.note)
        return config, _measured(config, cluster, data, until_ray + preparation, console.note)


def probed_settings(config: SweepConfig, slots: int) -> tuple[list[Params], list[Params]]:
    """Return some baselines, and settings that cover the range of every searched parameter."""
    count = slots * ceil(LEAST_SETTINGS / slots)
    baselines = config.baselines[: count // 3]
    return [dict(params) for params in baselines], _covering(config, count - len(baselines))


def _covering(config: SweepConfig, count: int) -> list[Params]:
    """Return a Latin hypercube: each of `count` equal parts of a parameter's range occurs in one setting."""
    random, space = Random(config.search.seed), config.space
    settings: list[Params] = [{} for _ in range(count)]
    for name, parameter in space.training.items():
        values = list(islice(cycle(parameter.midpoints(count)), count))
        random.shuffle(values)
        for params, value in zip(settings, values, strict=True):
            if space.active(name, params):
                params[name] = value
    return settings


def _prepared(config: SweepConfig, console: Quiet) -> tuple[SharedData, float]:
    """Return the data, and the seconds that its preparation takes with a filled cache."""
    began = time.monotonic()
    data = prepare_data(config, console)
    took = time.monotonic() - began
    if took < COLD_SECONDS:
        return data, took
    began = time.monotonic()
    prepare_data(config, Quiet())
    return data, time.monotonic() - began


def _measured(
    config: SweepConfig, cluster: Cluster, data: SharedData, start_seconds: float, note: Callable[[str], None]
) -> Basis:
    """Measure settings, as many at once as trials will run at once."""
    import ray
    from ray.exceptions import RayTaskError

    from trainables.ray_worker import probe as probe_task

    slots, resources = cluster.slots, config.resources
    baselines, others = probed_settings(config, slots)
    settings = [*baselines, *others]
    seconds = PROBE_SECONDS * slots / len(settings)
    recheck = MODELS[config.model].uses_images and config.recheck.trials
    again = config.recheck.model_dump(exclude={"trials", "seeds"}) if recheck else None
    task = ray.remote(probe_task).options(num_cpus=resources.cpu, num_gpus=resources.gpus, max_retries=0)
    what = f"measuring {len(settings)} settings, {slots} at once, for {PROBE_SECONDS:g} s in all"
    note(what)
    submitted = time.time()
    tasks = [
        task.remote(
            run_spec(config, params, seed=trial_seed(config.search.seed, number)),
            data.sample_metrics,
            threads(config),
            config.evaluation.report_kimg,
            again,
            seconds,
        )
        for number, params in enumerate(settings)
    ]
    try:
        outcomes: list[ProbedCost | str] = results(tasks, what, note)
    except RayTaskError as error:
        raise TuneAppError(f"a setting could not be measured: {error.cause}") from None
    measured = [one for one in outcomes if not isinstance(one, str)]
    if not measured:
        raise TuneAppError(f"no setting could be measured: {outcomes[0]}")
    begun = sorted(one.began for one in measured)[:slots]
    costs = [None if isinstance(one, str) else _trial_cost(one) for one in outcomes]
    return Basis(
        name=f"a probe of {len(measured)} settings",
        slots=slots,
        baselines=[cost for cost in costs[: len(baselines)] if cost],
        others=[cost for cost in costs[len(baselines) :] if cost],
        start_seconds=start_seconds,
        phase_seconds=max(0.0, fmean(begun) - submitted),
        checkpoint_bytes=fmean(one.checkpoint_bytes for one in measured),
        picture_bytes=fmean(one.picture_bytes for one in measured),
    )


def _trial_cost(measured: ProbedCost) -> TrialCost:
    return TrialCost(kimg=measured.kimg, rung=measured.rung, final=measured.final, recheck=measured.recheck)
