"""Files that a killed driver or worker left in an experiment."""

import shutil

from trainables import checkpoint, storage
from trainables.files import UNFINISHED
from trainables.trial import images
from tune_app.experiment.events import Checkpointed
from tune_app.experiment.folder import PARK_FILE, Experiment
from tune_app.experiment.log import EventLog
from tune_app.experiment.records import Records, TrialRecord


def remove_leftovers(experiment: Experiment, log: EventLog, records: Records, address: str | None) -> None:
    """Remove old requests, temporary files, and those checkpoints of unfinished trials that are not logged.

    A complete checkpoint of a trial's last report is logged instead: the driver died before it could log it.
    """
    shutil.rmtree(experiment.requests, ignore_errors=True)
    for request in records.requests:  # the driver died before it could remove the file of the point
        (experiment.queue / f"{request}.json").unlink(missing_ok=True)
    storage.remove(experiment.place(PARK_FILE, address))
    for record in records.unfinished.values():
        logged = {one.path for one in record.checkpoints}
        for name in storage.names(experiment.place(f"trials/{record.id}", address)):
            path = f"trials/{record.id}/{name}"
            if not name.startswith("checkpoint_") or path in logged:
                continue
            if _is_of_last_report(record, name, experiment.place(path, address)):
                log.append(Checkpointed(time=log.now(), trial=record.id, kimg=record.kimg, path=path))
            else:
                storage.remove(experiment.place(path, address))
    for folder in (experiment.folder, *(experiment.trial(trial) for trial in records.unfinished)):
        for left in folder.glob(f"{UNFINISHED}*"):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)


def restarting_trials(experiment: Experiment, records: Records, address: str | None) -> list[str]:
    """Return the unfinished trials that start over because none of their checkpoints is left."""
    return [
        record.id
        for record in records.unfinished.values()
        if record.reports
        and not record.decided
        and not any(storage.exists(place) for place in experiment.checkpoints(record, address))
    ]


def _is_of_last_report(record: TrialRecord, name: str, place: str) -> bool:
    if name != checkpoint.name_at(images(record.kimg)):
        return False
    with storage.local(place) as folder:
        return checkpoint.is_complete(folder)
