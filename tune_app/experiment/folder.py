"""The folder of one experiment: every file name in it, its configuration and its manifest."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from trainables import storage
from trainables.files import write_file
from tune_app.config.load import dump, load_resolved, restored
from tune_app.config.schema import SweepConfig
from tune_app.errors import InputError
from tune_app.experiment.log import read
from tune_app.experiment.model_code import COPIES, add_described
from tune_app.experiment.ranking import TrialResult, best_result
from tune_app.experiment.records import Records, TrialRecord

PARK_FILE = ".park"
"""While this file exists, running trials park: they write a checkpoint at their next report and wait."""


@dataclass(frozen=True)
class Experiment:
    """One sweep's folder."""

    folder: Path

    @property
    def shown(self) -> str:
        """The folder as a path, relative to the current folder if that is shorter."""
        return min(os.path.relpath(self.folder), str(self.folder), key=len)

    @property
    def sweep_yaml(self) -> Path:
        """The resolved configuration."""
        return self.folder / "sweep.yaml"

    @property
    def manifest(self) -> Path:
        """Versions, hardware, profile, command, fingerprints and seed."""
        return self.folder / "manifest.json"

    @property
    def events(self) -> Path:
        """The event log."""
        return self.folder / "events.jsonl"

    @property
    def study(self) -> Path:
        """The Optuna study."""
        return self.folder / "study.journal"

    @property
    def summary(self) -> Path:
        """The summary that a session writes when it ends."""
        return self.folder / "summary.json"

    @property
    def features(self) -> Path:
        """Weights of the trained cnn features that the sweep's metrics use, if it uses them."""
        return self.folder / "features.pt"

    @property
    def real_images(self) -> Path:
        """A picture of held-out images, to compare the samples with."""
        return self.folder / "real-images.png"

    @property
    def report(self) -> Path:
        """The answer as a page with charts, pictures and a table of all trials."""
        return self.folder / "report.html"

    @property
    def driver_log(self) -> Path:
        """Every line that the driver printed, with its time."""
        return self.folder / "driver.log"

    @property
    def model_files(self) -> Path:
        """Folder with copies of the users' files that define the model and its metrics."""
        return self.folder / COPIES

    @property
    def model_options(self) -> list[str]:
        """The options with which a command uses the experiment's copies of the users' files."""
        files = sorted(self.model_files.glob("*.py"))
        return [f"--models {Path(self.shown) / COPIES / file.name}" for file in files]

    def failure_files(self, trial: str) -> list[Path]:
        """Return the files that show why a trial failed: its traceback, its worker's output and the driver's log."""
        return [self.error_file(trial), self.worker_log(trial), self.driver_log]

    def error_file(self, trial: str) -> Path:
        """Return the file with the traceback of a trial's last failure."""
        return self.trial(trial) / "error.txt"

    def worker_log(self, trial: str) -> Path:
        """Return the file with the output of a failed trial's workers."""
        return self.trial(trial) / "worker.log"

    @property
    def requests(self) -> Path:
        """Folder with an empty file for each request to the driver, see requests.py."""
        return self.folder / ".stop"

    @property
    def queue(self) -> Path:
        """Folder with a file for each point that a person added and that no trial has taken yet, see queue.py."""
        return self.folder / ".queue"

    @property
    def trials(self) -> Path:
        """Folder that holds a folder for each trial."""
        return self.folder / "trials"

    def trial(self, trial: str) -> Path:
        """Return the folder of a trial."""
        return self.trials / trial

    def relative(self, path: Path) -> str:
        """Return a path inside the experiment as the log writes it."""
        return path.relative_to(self.folder).as_posix()

    def place(self, name: str, address: str | None) -> str:
        """Return where workers find the file `name`: in this folder, or at the `address` of the sweep's storage."""
        return storage.below(storage.below(address, self.folder.name) if address else str(self.folder), name)

    def checkpoints(self, record: TrialRecord, address: str | None) -> list[str]:
        """Return the places of a trial's logged checkpoints, newest first."""
        return [self.place(checkpoint.path, address) for checkpoint in reversed(record.checkpoints)]

    def config(self, changes: Mapping[str, object] | None = None) -> SweepConfig:
        """Return the resolved configuration, with `changes` (key to value) applied. No code of a model is run."""
        add_described(self.events)
        if not self.sweep_yaml.exists():
            logged = self.read_records().config
            if not logged:
                raise InputError(f"{self.sweep_yaml} is missing, and the log does not hold the configuration")
            write_file(self.sweep_yaml, dump(restored(logged, self.events)))
        return load_resolved(self.sweep_yaml, changes)

    def logged_config(self, records: Records) -> SweepConfig:
        """Return the configuration of the last session according to the log, or the resolved file if it has none."""
        add_described(self.events)
        return restored(records.config, self.events) if records.config else self.config()

    def profile(self) -> str | None:
        """Return the profile that the manifest names, if any."""
        profile = self._read_manifest().get("profile")
        return None if profile is None else str(profile)

    def hardware(self) -> tuple[float, ...] | None:
        """Return the CPUs, the GPUs and the number of trials at once that the manifest names, if any."""
        hardware = self._read_manifest().get("hardware")
        amounts = [hardware.get(key) for key in ("cpus", "gpus", "slots")] if isinstance(hardware, dict) else []
        numbers = tuple(float(amount) for amount in amounts if isinstance(amount, int | float))
        return numbers if len(numbers) == 3 else None

    def command(self) -> list[str]:
        """Return the command that the manifest names, if any."""
        command = self._read_manifest().get("command")
        return [str(part) for part in command] if isinstance(command, list) else []

    def read_records(self) -> Records:
        """Return the state of the trials according to the log."""
        return Records(read(self.events))

    def records(self) -> list[TrialRecord]:
        """Return all trials, in the order in which they were proposed."""
        return list(self.read_records().trials.values())

    def best(self) -> TrialResult | None:
        """Return the best trial so far, with the fields of `best` in summary.json, or None before the first rung."""
        config = self.config()
        return best_result(self.records(), config.metric.name, config.retraining)

    def _read_manifest(self) -> dict[str, JsonValue]:
        with suppress(OSError, ValueError):
            manifest = json.loads(self.manifest.read_text())
            return manifest if isinstance(manifest, dict) else {}
        return {}
