"""A session of the driver without Ray: a real log, study and cluster record in a temporary folder."""

from __future__ import annotations

from pathlib import Path

from tune_app.cluster.ray import Cluster
from tune_app.config.schema import SweepConfig
from tune_app.driver.searcher import Searcher
from tune_app.driver.session import Session
from tune_app.driver.shared_data import SharedData
from tune_app.driver.stopping import Stopping
from tune_app.driver.study import StudyWriter, rebuild_study
from tune_app.experiment.log import EventLog
from tune_app.experiment.out_folder import create
from tune_app.experiment.records import Records


class LocalSession:
    """The parts of a session, and the searcher on top of them."""

    def __init__(self, config: SweepConfig, folder: Path, slots: int = 1) -> None:
        experiment = create(folder, config.name)
        self.log, self.records = EventLog(experiment.events), Records()
        self.log.subscribe(self.records.apply)
        cluster = Cluster(cpus=1, gpus=1, slots=slots, local=True, scratch=folder)
        self.session = Session(config, experiment, self.log, self.records, cluster, SharedData())
        self.writer: StudyWriter = rebuild_study(experiment, config, [])
        self.log.listen(self.writer)
        self.stopping = Stopping.of(config.budget, experiment, self.records, str(folder / "park"))
        self.searcher = Searcher(self.session, self.writer, self.stopping)
        self.searcher._warm_ups = 0  # there are no actors
