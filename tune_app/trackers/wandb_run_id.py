"""The W&B run id of a trial. It stays the same over sessions and repeated syncs, so no run is made twice."""

from tune_app.experiment.folder import Experiment


def wandb_run_id(experiment: Experiment, trial: str) -> str:
    """Return the id of the run that shows `trial`."""
    return f"{experiment.folder.name}-{trial}"
