"""The W&B run id of a trial. It stays the same over sessions and repeated syncs, so no run is made twice."""

from tune_app.experiment.folder import Experiment
from tune_app.experiment.records import Records


def wandb_run_id(experiment: Experiment, records: Records, trial: str, edition: str = "") -> str:
    """Return the id of the run that shows `trial`. `edition` makes other ids, for a second Sweep of the experiment."""
    known = f"{records.config.get('name', '')}-{records.identity}" if records.identity else experiment.folder.name
    return "-".join(filter(None, (known, edition, trial)))
