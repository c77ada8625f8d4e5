"""One session of an experiment: from the start or the resume of a sweep to its end."""

from dataclasses import dataclass

from tune_app.cluster.ray import Cluster
from tune_app.config.schema import SweepConfig
from tune_app.driver.shared_data import SharedData
from tune_app.experiment.folder import PARK_FILE, Experiment
from tune_app.experiment.forecast import Forecast
from tune_app.experiment.log import EventLog
from tune_app.experiment.records import Records


@dataclass(frozen=True)
class Session:
    """Everything that the parts of the driver share."""

    config: SweepConfig
    experiment: Experiment
    log: EventLog
    records: Records
    """State of all trials according to the log. The log updates it with each event."""
    cluster: Cluster
    data: SharedData
    forecast: Forecast | None = None
    """What is expected of a new sweep, if anything is known."""
    preparation: float = 0.0
    """Seconds from the command to the session."""

    @property
    def metric(self) -> str:
        """Name of the metric that the sweep optimises."""
        return self.config.metric.name

    @property
    def park_file(self) -> str:
        """The file whose presence asks running trials to park."""
        return self.experiment.place(PARK_FILE, self.config.storage)

    @property
    def reuses_actors(self) -> bool:
        """True if a trial may take over the process of one that has ended, which saves it the start of its own.

        This is so on one machine. A process that failed is never taken over.
        """
        return self.cluster.local

    def checkpoints(self, trial: str) -> list[str]:
        """Return the places of a trial's checkpoints, newest first."""
        return self.experiment.checkpoints(self.records.trials[trial], self.config.storage)
