"""The experiments of a folder, a row for each: state, trials and best value."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from pydantic import JsonValue

from tune_app.answer.summary import sweep_state
from tune_app.errors import InputError
from tune_app.experiment.folder import Experiment
from tune_app.experiment.log import read
from tune_app.experiment.ranking import best_result
from tune_app.experiment.records import Records
from tune_app.plan import trial_count


@dataclass(frozen=True)
class ExperimentRow:
    """One experiment: an object of `list --json`."""

    name: str
    """Name of the folder."""
    experiment: str
    """Folder."""
    state: str = "unreadable"
    trials_ended: int = 0
    trials_planned: int = 0
    metric: str | None = None
    """The metric, or the first of two."""
    best: float | None = None
    kimg: float | None = None
    """Thousands of training images at which the best value was measured."""
    began: str | None = None
    """Time of the first event: UTC, ISO 8601."""
    problem: str | None = None
    """A sentence if the experiment cannot be read."""

    def as_json(self) -> dict[str, JsonValue]:
        """Return the JSON object."""
        return asdict(self)


def experiment_row(experiment: Experiment) -> ExperimentRow:
    """Return the row of an experiment. One that cannot be read has a `problem`."""
    name, folder = experiment.folder.name, str(experiment.folder)
    try:
        events = read(experiment.events)
        records = Records(events)
        config = experiment.logged_config(records)
    except (InputError, OSError) as error:
        return ExperimentRow(name, folder, problem=str(error).partition("\n")[0])
    metric = config.metric.name
    result = best_result(records.trials.values(), metric, config.retraining)
    return ExperimentRow(
        name,
        folder,
        state=sweep_state(experiment, records),
        trials_ended=sum(record.ended for record in records.searched),
        trials_planned=trial_count(config, records.added),
        metric=metric,
        best=result.value if result else None,
        kimg=result.kimg if result else None,
        began=events[0].time if events else None,
    )


def listing_lines(rows: Iterable[ExperimentRow]) -> list[str]:
    """Return a line for each experiment."""
    rows = list(rows)
    width = max((len(row.name) for row in rows), default=0)
    return [f"{row.name:{width}}  {_about(row)}" for row in rows]


def _about(row: ExperimentRow) -> str:
    if row.problem is not None:
        return f"cannot be read: {row.problem}"
    trials = f"{row.trials_ended}/{row.trials_planned} trials"
    value = "no value yet" if row.best is None else f"{row.metric} {row.best:.4g} at {row.kimg:g} kimg"
    began = f"began {row.began[:16].replace('T', ' ')} UTC" if row.began else "not begun"
    return f"{row.state:11}  {trials:14}  {value:28}  {began}"
