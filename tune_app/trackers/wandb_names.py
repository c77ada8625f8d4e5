"""How runs stand in W&B: the id of a trial's run, the keys of its metrics, and what wandb may not print or send."""

from typing import Any

from tune_app.experiment.folder import Experiment
from tune_app.experiment.records import Records

TRAINING, HELD_OUT = "train_", "held_out_"
QUIET: dict[str, Any] = {
    "silent": True,
    "quiet": True,  # otherwise wandb prints the login and waits for it
    "console": "off",
    "disable_git": True,
    "disable_code": True,
    "x_save_requirements": False,
}
"""Settings of every run: wandb prints nothing, and sends neither code nor output."""


def wandb_name(metric: str, *, rung: bool = True) -> str:
    """Return W&B's name of a metric of a report.

    The reference project logs its training losses as `train_loss`, `recon_loss`, `kl_loss` and `beta_kl_loss`. A
    held-out loss of one of these names gets a prefix, so that one panel never mixes the two. Between rungs, logs of
    version 0.1 name training losses without a prefix.
    """
    if metric == f"{TRAINING}loss" or not metric.endswith("_loss"):
        return metric
    if metric.startswith(TRAINING):
        return metric.removeprefix(TRAINING)
    return f"{HELD_OUT}{metric}" if rung else metric


def wandb_run_id(experiment: Experiment, records: Records, trial: str, edition: str = "") -> str:
    """Return the id of the W&B run that shows `trial`: the same in every session and sync, so no run is made twice.

    `edition` makes other ids, for a second Sweep of the experiment.
    """
    known = f"{records.config.get('name', '')}-{records.identity}" if records.identity else experiment.folder.name
    return "-".join(filter(None, (known, edition, trial)))
