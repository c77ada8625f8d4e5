"""An experiment as Python code and notebooks use it: its trials as a table, and its model."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces.distributions import Scalar
from tune_app.config.schema import SweepConfig
from tune_app.errors import InputError, SweepFailedError
from tune_app.experiment.folder import Experiment
from tune_app.experiment.fresh_values import fresh_estimate
from tune_app.experiment.records import TrialRecord

if TYPE_CHECKING:
    from pandas import DataFrame

    from trainables.saved_model import SavedModel
    from tune_app.trackers.console import Quiet

Row = dict[str, Scalar | None]


@dataclass(frozen=True)
class OpenedExperiment(Experiment):
    """An experiment whose trials Python code reads.

    `best()` returns a TrialResult, `records()` a list of TrialRecord, `config()` the SweepConfig.
    """

    def dataframe(self) -> DataFrame:
        """Return one row for each trial, in the order in which they were proposed. Raise InputError without pandas.

        The columns are those of `table()`. The index is the trial's id.
        """
        try:
            import pandas
        except ImportError:
            raise InputError("dataframe() needs pandas: pip install pandas") from None
        return pandas.DataFrame(self.table()).set_index("trial") if self.table() else pandas.DataFrame()

    def table(self) -> list[Row]:
        """Return one row for each trial.

        A row holds its id, state, source, kimg and seconds, its value with fresh seeds, its parameters with the best
        sampling setting, and the metrics of its last rung.
        """
        config = self.config()
        rows = [_row(record, config) for record in self.records()]
        columns = list(dict.fromkeys(name for row in rows for name in row))
        return [{name: row.get(name) for name in columns} for row in rows]

    def load_model(self, trial: str | None = None) -> SavedModel:
        """Return the trained model of the winner, or of `trial`. Raise InputError if it has no checkpoint."""
        from tune_app.commands.model_source import trained_model

        return trained_model(str(self.folder), Path(), trial).model


def check_any_succeeded(experiment: Experiment) -> None:
    """Raise SweepFailedError if the sweep has ended and every trial failed."""
    records = experiment.read_records()
    if records.state != "failed":
        return
    failed = next((one for one in records.trials.values() if one.failed_for_good), None)
    why = f"; trial {failed.id}: {failed.failures[-1].message}" if failed else ""
    raise SweepFailedError(f"{experiment.folder}: every trial failed{why}", experiment.folder)


def progress_console() -> Quiet:
    """Return the live table in a notebook, plain lines elsewhere."""
    from tune_app.trackers.console import Plain
    from tune_app.trackers.live_table import LiveTable

    if not _in_notebook():
        return Plain()
    from rich.console import Console

    return LiveTable(Console(force_jupyter=True))


def _in_notebook() -> bool:
    """Return True in a Jupyter notebook that can redraw its output, which takes ipywidgets."""
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return type(shell).__name__ == "ZMQInteractiveShell" and find_spec("ipywidgets") is not None


def _row(record: TrialRecord, config: SweepConfig) -> Row:
    fresh, last = fresh_estimate(record, config.metric.name), record.rungs[-1] if record.rungs else None
    return {
        "trial": record.id,
        "state": record.state,
        "source": record.source,
        "kimg": record.kimg,
        "seconds": record.seconds,
        "fresh_value": fresh.mean if fresh else None,
        "fresh_stderr": fresh.stderr if fresh else None,
        **record.params,
        **(last.sampling if last else {}),
        **(last.metrics if last else {}),
    }
