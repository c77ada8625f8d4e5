"""Checks between the blocks of a configuration, and between the configuration and the catalog."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from itertools import chain
from typing import TYPE_CHECKING

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from search_spaces.distributions import Categorical, Distribution, Float, Scalar, SpaceError, same
from search_spaces.space import Space
from trainables.catalog import MODELS, PAIRS
from trainables.model import Parameter
from trainables.plugin_code import where_it_failed
from tune_app.config.reach import Fault, Reach, all_reaches

if TYPE_CHECKING:
    from tune_app.config.schema import SweepConfig

SAMPLING_POINTS = 5
"""Values of each sampling parameter that the last evaluation tries. No other evaluation tries more."""


def check(config: SweepConfig, *, resumed: bool = False) -> None:
    """Raise ValidationError with every fault. Later checks run only if the names they depend on are right.

    A resumed experiment of an earlier version may do what is refused today.
    """
    faults = [*_metric(config), *_names(config), *_warm_start(config), *_side(config)]
    if not faults:
        faults = [*_ranges(config), *_fixed(config)]
    if not faults:
        faults = [*_space(config)]
    if not faults:
        faults = [*_baselines(config), *_rules(config), *_retraining(config)]
        faults += [] if resumed else [*_order(config), *_batch_size(config)]
    if faults:
        raise ValidationError.from_exception_data(
            "SweepConfig",
            [
                InitErrorDetails(
                    type=PydanticCustomError("fault", "{message}", {"message": fault.message, "hint": fault.hint}),
                    loc=fault.key,
                    input=None,
                )
                for fault in faults
            ],
        )


def nearest(word: str, words: list[str]) -> str:
    """Return a hint: the nearest word, or all words."""
    match = get_close_matches(word, words, n=1, cutoff=0.5)
    return f"did you mean {match[0]}?" if match else f"choose from {', '.join(words)}"


def _metric(config: SweepConfig) -> Iterator[Fault]:
    known = MODELS[config.model].metrics
    if config.metrics and config.metric != config.metrics[0]:
        yield Fault(("metrics",), "cannot be combined with metric", "keep one of them")
    keys: list[tuple[str | int, ...]] = [("metrics", i) for i in range(len(config.metrics))] or [("metric",)]
    for key, metric in zip(keys, config.objectives, strict=True):
        if metric.name not in known:
            yield Fault(
                (*key, "name"), f"{config.model} has no metric {metric.name}", _metric_hint(metric.name, [*known])
            )
        elif metric.goal != (goal := "maximize" if known[metric.name].maximize else "minimize"):
            yield Fault(
                (*key, "goal"),
                f"{metric.name} is better when {'high' if goal == 'maximize' else 'low'}: must be {goal}",
                "remove goal",
            )
        elif known[metric.name].data not in ("", config.data.name):
            yield Fault((*key, "name"), f"{metric.name} exists only with data: {known[metric.name].data}")
    pair = tuple(metric.name for metric in config.metrics)
    if pair and pair not in PAIRS:
        offered = "; ".join(" with ".join(names) for names in PAIRS)
        yield Fault(("metrics",), f"the pairs of objectives are {offered}", "use `metric` for a single one")
    if pair and config.search.sampler == "cmaes":
        yield Fault(("search", "sampler"), "cmaes supports only one objective", "use tpe")


def _metric_hint(name: str, known: list[str]) -> str:
    """Return a hint. A training or validation loss is what people look for, but trials do not compare by it."""
    if "loss" in name and "kid" in known:
        return "did you mean kid? trials do not compare by a loss"
    return nearest(name, known)


def _names(config: SweepConfig) -> Iterator[Fault]:
    known = [*MODELS[config.model].parameters]
    for block, name in chain((("parameters", n) for n in config.parameters), (("fixed", n) for n in config.fixed)):
        if name not in known:
            yield Fault((block, name), f"{config.model} has no parameter of that name", nearest(name, known))
    for name in config.fixed:
        if name in config.parameters:
            hint = f"keep one; `parameters.{name}: null` in a profile or with --set removes it from the search"
            yield Fault(("fixed", name), "is also searched under parameters", hint)


def _warm_start(config: SweepConfig) -> Iterator[Fault]:
    if config.search.warm_start and config.search.sampler in ("random", "grid"):
        yield Fault(("search", "warm_start"), f"has no effect with sampler {config.search.sampler}", "use tpe")


def _side(config: SweepConfig) -> Iterator[Fault]:
    if MODELS[config.model].uses_images and (complaint := side_complaint(config.model, config.data.resolution)):
        yield Fault(("data", "resolution"), *complaint)


def side_complaint(model: str, side: int) -> tuple[str, str] | None:
    """Return why the model refuses images of this side, and the nearest side that it takes, or None."""
    multiple = MODELS[model].side_multiple
    if side % multiple == 0:
        return None
    nearest_side = multiple * max(1, round(side / multiple))
    return f"{model} takes a multiple of {multiple} pixels, not {side}", f"the nearest is {nearest_side}"


def _ranges(config: SweepConfig) -> Iterator[Fault]:
    for name, p in config.parameters.items():
        parameter = MODELS[config.model].parameters[name]
        for message in _misfits(parameter, p):
            yield Fault(("parameters", name), message)
        if p.stage == "sampling" and parameter.stage != "sampling":
            message = "changes the weights, so it cannot have stage: sampling"
            yield Fault(("parameters", name, "stage"), message, "remove stage")


def _misfits(parameter: Parameter, p: Distribution) -> Iterator[str]:
    """Yield why the model refuses values of the distribution."""
    if isinstance(p, Categorical):
        for choice in p.choices:
            if complaint := parameter_complaint(parameter, choice):
                yield f"choices: a value {complaint}"
    elif parameter.choices:
        yield f"must be categorical, with choices from {', '.join(map(str, parameter.choices))}"
    elif isinstance(p, Float) and isinstance(parameter.default, int):
        yield "takes whole numbers, so its type must be int, not float"
    else:
        for bound, value in (("low", p.low), ("high", p.high)):
            if complaint := parameter.complaint(value):
                yield f"{bound} {complaint}"


def _fixed(config: SweepConfig) -> Iterator[Fault]:
    for name, value in config.fixed.items():
        if complaint := parameter_complaint(MODELS[config.model].parameters[name], value):
            yield Fault(("fixed", name), complaint)


def parameter_complaint(parameter: Parameter, value: object) -> str | None:
    """Return why the model refuses a value, or None."""
    if not isinstance(value, bool | int | float | str):
        return f"must be a number, a string, true or false, not {value!r}"
    if parameter.choices and not any(same(value, choice) for choice in parameter.choices):
        return f"must be one of {', '.join(map(str, parameter.choices))}, not {value}"
    return parameter.complaint(value)


def _space(config: SweepConfig) -> Iterator[Fault]:
    try:
        space = config.space
        _every_sampling_setting(space)
        if config.search.sampler == "grid":
            space.grid()
    except SpaceError as error:
        yield Fault(("parameters", error.parameter) if error.parameter else ("parameters",), str(error))


def _every_sampling_setting(space: Space) -> None:
    """Raise SpaceError if an evaluation could try too many settings, whatever `when` says about training parameters."""
    unconditional = {name: p.model_copy(update={"when": {}}) for name, p in space.sampling.items()}
    Space(unconditional).sampling_grid(SAMPLING_POINTS)


def _baselines(config: SweepConfig) -> Iterator[Fault]:
    known = [*MODELS[config.model].parameters]
    for i, baseline in enumerate(config.baselines):
        for name, value in baseline.items():
            if message := _baseline_misfit(config, baseline, name, value):
                yield Fault(("baselines", i, name), message, nearest(name, known) if name not in known else "")


def _baseline_misfit(config: SweepConfig, baseline: dict[str, Scalar], name: str, value: Scalar) -> str | None:
    space, parameter = config.space, MODELS[config.model].parameters.get(name)
    if name in space.sampling:
        return "is searched inside every evaluation, so a baseline cannot set it"
    if parameter is None:
        return f"{config.model} has no parameter of that name"
    if name not in space.parameters:
        return parameter_complaint(parameter, value)
    given = {**config.constants, **baseline}
    for parent, allowed in space.parameters[name].when.items():
        if parent in given and not any(same(given[parent], one) for one in allowed):
            return f"is not searched when {parent} is {given[parent]}"
    return space.parameters[name].complaint(value)


def _retraining(config: SweepConfig) -> Iterator[Fault]:
    if config.retraining is None:
        return
    count = len(config.retraining.settings) * config.retraining.seeds
    if not len(config.baselines) == config.search.trials == count:
        message = f"a retraining has {count} trainings: each setting with each seed"
        yield Fault(("search", "trials"), message, "`tune_app retrain` writes this configuration")
    if config.scheduler.type != "none" or config.metrics or config.recheck.trials:
        message = "goes with scheduler.type none, a single metric and recheck.trials 0"
        yield Fault(("retraining",), message, "`tune_app retrain` writes this configuration")


def _order(config: SweepConfig) -> Iterator[Fault]:
    for larger, smaller in MODELS[config.model].descending:
        for reach in all_reaches(config, larger, smaller):
            low, high = reach.extremes(larger)[0], reach.extremes(smaller)[1]
            if low <= high:
                message = f"the smallest {larger} ({low:g}) must be above the largest {smaller} ({high:g})"
                yield reach.fault(message, "a trial that draws them the other way fails", larger, smaller)


def _batch_size(config: SweepConfig) -> Iterator[Fault]:
    if "batch_size" not in MODELS[config.model].parameters:
        return
    for reach in all_reaches(config, "batch_size"):
        largest, report = reach.extremes("batch_size")[1], 1000 * config.evaluation.report_kimg
        if largest > report:
            message = f"the largest batch ({largest:g} images) must fit between two reports ({report:g} images)"
            yield reach.fault(message, "raise evaluation.report_kimg", "batch_size")


def _rules(config: SweepConfig) -> Iterator[Fault]:
    plugins = MODELS.plugins_of(config.model)
    try:
        for reach in [Reach(config), *(Reach(config, i) for i in range(len(config.baselines)))]:
            for complaint in MODELS[config.model].rules(reach):
                if reach.sets_any(complaint.names):
                    yield reach.fault(complaint.message, complaint.hint, *complaint.names)
    except Exception as error:
        if not plugins:
            raise
        yield Fault(("model",), f"the rules of the model fail: {where_it_failed(plugins, error)}", "")
