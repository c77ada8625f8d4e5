"""Experiments side by side: the best setting of each, what it cost, and the best value so far over the training."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from pydantic import JsonValue

from search_spaces.distributions import Scalar
from trainables.catalog import sign
from tune_app.config.schema import SweepConfig
from tune_app.errors import InputError
from tune_app.experiment.events import Event, Reported
from tune_app.experiment.folder import Experiment
from tune_app.experiment.fresh_values import FreshValues, difference
from tune_app.experiment.log import read
from tune_app.experiment.ranking import best_result, ranked
from tune_app.experiment.records import Records
from tune_app.formatting import clock, short


@dataclass(frozen=True)
class Competitor:
    """One experiment of the comparison."""

    name: str
    experiment: str
    """Folder."""
    metric: str
    trial: str | None
    """The best trial, None if none has reached a rung."""
    value: float | None
    stderr: float | None
    worse_by: float | None
    """How much worse than the first experiment's best, below 0 if better. None if either was not re-evaluated."""
    worse_by_stderr: float | None
    params: dict[str, Scalar]
    """Searched parameters of the best trial."""
    trials: int
    cost: dict[str, float]
    best_so_far: list[tuple[float, float]]
    """After each trial that trained to the end: kimg trained by all trials together, and the best value."""

    def as_json(self) -> dict[str, JsonValue]:
        """Return the JSON object."""
        return asdict(self)


def side_by_side(experiments: Sequence[Experiment]) -> list[Competitor]:
    """Return the experiments in the given order. Raise InputError if their values do not compare."""
    known = [(one, one.config(), read(one.events)) for one in experiments]
    folded = [(one, config, events, Records(events)) for one, config, events in known]
    _, first_config, _, first = folded[0]
    for experiment, config, _, records in folded[1:]:
        _check_comparable(experiment, (first_config, first), (config, records))
    metric = first_config.metric.name
    values = [FreshValues(ranked(records.trials.values(), metric), metric) for _, _, _, records in folded]
    return [
        _competitor(experiment, config, events, records, values[0], mine)
        for (experiment, config, events, records), mine in zip(folded, values, strict=True)
    ]


def side_by_side_lines(competitors: Sequence[Competitor]) -> list[str]:
    """Return the comparison as text, some lines for each experiment."""
    lines = []
    for one in competitors:
        error = "" if one.stderr is None else f" ± {one.stderr:.2g}"
        value = "no trial has reached a rung" if one.value is None else f"{one.metric} {one.value:.4g}{error}"
        lines.append(f"{one.name}: {value}" + (f", trial {one.trial}" if one.trial else ""))
        if one.worse_by is not None and one is not competitors[0]:
            kind = "better" if one.worse_by < 0 else "worse"
            lines.append(f"  {abs(one.worse_by):.2g} ± {one.worse_by_stderr:.2g} {kind} than {competitors[0].name}")
        if one.params:
            lines.append(f"  {', '.join(f'{name} {short(value)}' for name, value in one.params.items())}")
        hours = clock(3600 * one.cost["hours"])
        lines.append(f"  {one.trials} trials in {hours}, {one.cost['kimg']:g} kimg trained")
        if one.best_so_far:
            steps = ", ".join(f"{value:.4g} after {kimg:g}" for kimg, value in one.best_so_far)
            lines.append(f"  best so far, by the sweep's own values: {steps} kimg")
    return lines


def _check_comparable(
    experiment: Experiment, first: tuple[SweepConfig, Records], other: tuple[SweepConfig, Records]
) -> None:
    (config, records), (mine, my_records) = first, other
    differing = [
        name
        for name, one, two in (
            ("another metric", config.metric.name, mine.metric.name),
            ("other images", records.data, my_records.data),
            ("other features", records.features, my_records.features),
        )
        if one != two
    ]
    if differing:
        raise InputError(
            f"{experiment.folder} does not compare with the first experiment: {', '.join(differing)}",
            hint="compare experiments on the same data, metric and features",
        )


def _competitor(
    experiment: Experiment,
    config: SweepConfig,
    events: Sequence[Event],
    records: Records,
    first: FreshValues,
    mine: FreshValues,
) -> Competitor:
    metric = config.metric.name
    result = best_result(records.trials.values(), metric, config.retraining)
    reference, best = first.best(), mine.best()
    ours, theirs = best and mine.get(best.id), reference and first.get(reference.id)
    distance = difference(theirs, ours, metric) if ours and theirs else None
    return Competitor(
        name=experiment.folder.name,
        experiment=str(experiment.folder),
        metric=metric,
        trial=result.trial if result else None,
        value=result.value if result else None,
        stderr=result.stderr if result else None,
        worse_by=distance.mean if distance else None,
        worse_by_stderr=distance.stderr if distance else None,
        params={name: result.params[name] for name in config.parameters if name in result.params} if result else {},
        trials=len(records.searched),
        cost=records.cost(),
        best_so_far=_best_so_far(events, records, metric, config.rungs[-1]),
    )


def _best_so_far(events: Sequence[Event], records: Records, metric: str, last: float) -> list[tuple[float, float]]:
    """Return each improvement of the best value at the last rung, with the kimg trained until then."""
    reached: dict[str, float] = {}
    found: list[tuple[float, float]] = []
    for event in events:
        if not isinstance(event, Reported) or records.trials[event.trial].retrains:
            continue
        reached[event.trial] = max(event.kimg, reached.get(event.trial, 0.0))
        value = event.metrics.get(metric) if event.rung and event.kimg == last else None
        if value is not None and (not found or sign(metric) * value < sign(metric) * found[-1][1]):
            found.append((sum(reached.values()), value))
    return found
