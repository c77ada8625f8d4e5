"""The plan of a sweep: trials, rungs, cost and the text that shows them. Imports neither torch nor ray."""

from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

from trainables.catalog import MODELS
from trainables.image_distances import known_distances
from trainables.image_summary import ImageSummary
from tune_app.config.schema import SweepConfig


@dataclass(frozen=True)
class Plan:
    """Counts and costs of a sweep. kimg are thousands of training images."""

    name: str
    model: str
    metric: str
    trials: int
    baselines: int
    rungs: list[float]
    survivors: list[int]
    """Trials expected at each rung if every rung is trusted from the start, which is the least possible training."""
    kimg_least: float
    kimg_most: float
    sampling_settings: int
    """Sampling settings tried in a rung's evaluation."""
    cpu: float
    gpu: float | str
    """A number, or `auto`."""
    budget: dict[str, float | None]
    images: ImageSummary | None = None
    """Contents of the folder or file of images; None for a built-in data set."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def make_plan(config: SweepConfig, images: ImageSummary | None = None) -> Plan:
    """Return the plan of `config`. `images` is what `look_at_images` returns."""
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
        images=images,
    )


RUNG_SETTINGS, FINAL_SETTINGS = 3, 5
"""Values tried of each sampling-stage parameter at a rung and at max_kimg."""


TRAINED_AGAIN = 2
"""Best settings that are trained again with fresh seeds, in addition to the best baseline."""


def trial_count(config: SweepConfig, added: int = 0) -> int:
    """Return the number of trials, with those `added` by a person. A grid has no more than its points and baselines."""
    if config.search.sampler != "grid":
        return config.search.trials + added
    return min(config.search.trials, len(config.baselines) + len(config.space.grid())) + added


def settings_re_evaluated(config: SweepConfig) -> int:
    """Return the number of trials that are re-evaluated, at most: the best ones, and the best baseline."""
    return min(config.recheck.trials + bool(config.baselines), trial_count(config))


def settings_trained_again(config: SweepConfig) -> int:
    """Return the number of settings that are trained again, at most: the best two, and the best baseline."""
    return min(TRAINED_AGAIN + bool(config.baselines), trial_count(config))


def plan_warnings(config: SweepConfig) -> list[str]:
    """Return why the answer of a sweep may mislead, and what was left out of its plan."""
    known = MODELS[config.model].metrics
    first = config.objectives[0].name  # a second objective may measure what kid cannot see
    warnings = [f"metric {first}: {known[first].warning}"] if known[first].warning else []
    if config.search.sampler == "grid":
        points, baselines = len(config.space.grid()), len(config.baselines)
        if config.search.trials < points + baselines:
            run, every = max(0, config.search.trials - baselines), points + baselines
            warnings.append(f"only {run} of the grid's {points} points run; for all of them: --trials {every}")
    earlier = config.retraining.earlier if config.retraining else []
    if earlier:
        warnings.append(f"earlier retrainings of this sweep have used the test images: {', '.join(earlier)}")
    return warnings + config.notes


def plan_lines(plan: Plan, config: SweepConfig) -> list[str]:
    """Return the plan as text."""
    ladder = " -> ".join(f"{rung:g}" for rung in plan.rungs)
    asha = config.scheduler
    stopping = (
        "no trial is stopped early"
        if len(plan.rungs) == 1
        else f"ASHA continues the best 1/{asha.reduction_factor:g} at a rung"
    )
    if len(plan.rungs) > 1 and asha.trust:
        trust = asha.trust
        stopping += (
            f", once {trust.trials} finished trials show that it predicts the end (tau >= {trust.tau:g})"
            if trust.error is None
            else f", once finished trials show that it predicts the end (error rate {100 * trust.error:g} %)"
        )
    lines = [
        f"plan: {plan.trials} trials of {plan.model} ({plan.baselines} of them baselines), {_goals(config)}",
        *_data_lines(plan, config),
        f"  searches {', '.join(config.parameters)}",
        f"  rungs at {ladder} kimg{_rule(config)}; {stopping}",
        f"  {plan.kimg_least:g} to {plan.kimg_most:g} kimg of training",
        f"  a trial takes {plan.cpu:g} CPU and {plan.gpu if isinstance(plan.gpu, str) else f'{plan.gpu:g}'} GPU",
    ]
    if config.search.warm_start:
        lines.append(f"  the sampler also learns from {', '.join(config.search.warm_start)}")
    limits = ", ".join(
        f"{value:g} {name.replace('_', ' ')}" for name, value in plan.budget.items() if value is not None
    )
    if MODELS[config.model].uses_images and config.recheck.trials:
        again, baseline = config.recheck, " and the best baseline" if config.baselines else ""
        lines.append(
            f"  the best {again.trials}{baseline} are re-evaluated at the end with fresh seeds: "
            f"{again.draws} times {again.samples} samples"
        )
        if again.seeds and not config.metrics:
            settings = settings_trained_again(config)
            kimg = again.seeds * settings * config.scheduler.max_kimg
            lines.append(f"  then up to {settings} settings are trained again with {again.seeds} seeds: {kimg:g} kimg")
    lines += [f"  budget: {limits}"] if limits else []
    return [*lines, *(f"warning: {warning}" for warning in plan_warnings(config))]


def _rule(config: SweepConfig) -> str:
    """Return how the rungs follow from the configuration."""
    asha = config.scheduler
    if asha.rungs or len(config.rungs) == 1:
        return ""
    return f" (max_kimg / {asha.reduction_factor:g}, again and again, not below {asha.grace_kimg:g})"


def _goals(config: SweepConfig) -> str:
    return " and ".join(f"{one.goal.removesuffix('ize')}ising {one.name}" for one in config.objectives)


def _data_lines(plan: Plan, config: SweepConfig) -> list[str]:
    if not MODELS[config.model].uses_images:
        return []
    data = config.data
    grey = ", grayscale" if data.channels == 1 else ""
    where, side = f" {data.path}" if data.path else "", data.resolution
    lines = [f"  data {data.name}{where}, {side} x {side} pixels{grey}"]
    lines += [f"    {line}" for line in (plan.images.lines() if plan.images else [])]
    known = known_distances(data.spec()) if config.model == "ncsn" else None
    if known:
        lines.append(
            f"  two training images are {known.median:.1f} apart (median), at most {known.largest:.1f}: "
            "NCSNv2 takes the latter as sigma_begin"
        )
    return lines
