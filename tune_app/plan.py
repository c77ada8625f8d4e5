"""A configuration as arithmetic: trials, rungs, marks, images. Trains nothing and imports neither torch nor ray."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

from tune_app.config.schema import SweepConfig


@dataclass(frozen=True)
class Plan:
    """What a sweep would do; kimg are thousands of training images."""

    name: str
    model: str
    metric: str
    trials: int
    baselines: int
    rungs: list[float]
    survivors: list[int]
    """Trials expected at each rung if every rung is trusted from the start: the least that will be trained."""
    kimg_least: float
    kimg_most: float
    sampling_settings: int
    """Sampling settings tried in a rung's evaluation."""
    cpu: float
    gpu: float | str
    """A number, or `auto`."""
    budget: dict[str, float | None]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def make_plan(config: SweepConfig) -> Plan:
    """The plan of `config`: counts, rungs and the least and most that would be trained."""
    ladder = config.rungs
    trials = max(trial_count(config), 1)
    survivors = [trials]
    for _ in ladder[1:]:
        kept = ceil(survivors[-1] / config.scheduler.reduction_factor)
        survivors.append(min(survivors[-1], max(kept, min(len(config.baselines), trials))))
    steps = [high - low for low, high in zip([0.0, *ladder], ladder, strict=False)]
    return Plan(
        name=config.name,
        model=config.model,
        metric=" and ".join(metric.name for metric in config.objectives),
        trials=trials,
        baselines=min(len(config.baselines), trials),
        rungs=ladder,
        survivors=survivors,
        kimg_least=sum(step * count for step, count in zip(steps, survivors, strict=True)),
        kimg_most=ladder[-1] * trials,
        sampling_settings=len(config.space.sampling_grid(RUNG_SETTINGS)),
        cpu=config.resources.cpu,
        gpu=config.resources.gpu,
        budget=config.budget.model_dump(),
    )


RUNG_SETTINGS, FINAL_SETTINGS = 3, 5
"""Values tried of each sampling-stage parameter at a rung and at max_kimg."""


def trial_count(config: SweepConfig) -> int:
    """Trials that would be asked for; a grid has no more than its points and the baselines."""
    if config.search.sampler != "grid":
        return config.search.trials
    return min(config.search.trials, len(config.baselines) + len(config.space.grid()))
