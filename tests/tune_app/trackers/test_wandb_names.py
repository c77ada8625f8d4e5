"""The keys of metrics in W&B."""

import pytest

from tune_app.trackers.wandb_names import wandb_name


@pytest.mark.parametrize(
    ("metric", "rung", "shown"),
    [
        ("train_loss", False, "train_loss"),
        ("train_recon_loss", False, "recon_loss"),
        ("train_recon_loss", True, "recon_loss"),
        ("train_beta_kl_loss", True, "beta_kl_loss"),
        ("recon_loss", True, "held_out_recon_loss"),
        ("kl_loss", False, "kl_loss"),  # a log of version 0.1 between rungs
        ("loss", True, "loss"),
        ("kid", True, "kid"),
    ],
)
def test_training_losses_have_the_reference_names_and_held_out_ones_a_prefix(
    metric: str, rung: bool, shown: str
) -> None:
    assert wandb_name(metric, rung=rung) == shown
