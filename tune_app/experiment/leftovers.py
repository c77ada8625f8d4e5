"""Files that a killed process left half-written."""

import shutil

from trainables import storage
from trainables.files import UNFINISHED
from tune_app.experiment.folder import PARK_FILE, Experiment
from tune_app.experiment.records import Records


def remove_leftovers(experiment: Experiment, records: Records, address: str | None) -> None:
    """Remove old requests, temporary files, and checkpoints of unfinished trials that the log does not name."""
    logged = {checkpoint.path for record in records.trials.values() for checkpoint in record.checkpoints}
    shutil.rmtree(experiment.requests, ignore_errors=True)
    storage.remove(experiment.place(PARK_FILE, address))
    for record in records.unfinished.values():
        trial = f"trials/{record.id}"
        for name in storage.names(experiment.place(trial, address)):
            if name.startswith("checkpoint_") and f"{trial}/{name}" not in logged:
                storage.remove(experiment.place(f"{trial}/{name}", address))
    for folder in (experiment.folder, *(experiment.trial(trial) for trial in records.unfinished)):
        for path in folder.glob(f"{UNFINISHED}*"):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
