"""Reasons not to rely on the winner that its samples and the real images give."""

from collections.abc import Mapping

from tune_app.experiment.ranking import TrialResult
from tune_app.experiment.records import Records

FEWEST_IMAGES = 500
"""Real images below which kid is too noisy to tell trials apart."""
LEAST_DIVERSITY = 0.1


def sample_warnings(records: Records, winner: TrialResult | None, metric: str) -> list[str]:
    """Return the warnings about the winner's samples, and about the number of real images."""
    found = [few_images(records.compared)]
    if winner:
        found += [_no_better_than_noise(records, winner, metric), _collapsed(winner)]
    return [warning for warning in found if warning]


def few_images(compared: Mapping[str, int]) -> str:
    """Return a warning if samples are compared with few real images, else an empty string."""
    few = [f"{count} real images in the {part}" for part, count in compared.items() if count < FEWEST_IMAGES]
    if not few:
        return ""
    return f"samples are compared with only {' and '.join(few)}: below {FEWEST_IMAGES}, kid hardly tells trials apart"


def _no_better_than_noise(records: Records, winner: TrialResult, metric: str) -> str:
    """Return a warning if the winner's kid is no lower than that of real images without any picture left."""
    noise = records.scale.get("phases_randomised")
    if noise is None or metric != "kid" or winner.value is None or winner.value < noise:
        return ""
    return (
        f"the winner's kid ({winner.value:.3g}) is not below that of real images with random phases ({noise:.3g}), in "
        "which no picture is left: look at the samples before you rely on it"
    )


def _collapsed(winner: TrialResult) -> str:
    """Return a warning if the winner's samples are all alike, or if its code carries nothing."""
    diversity, units = winner.metrics.get("diversity"), winner.metrics.get("active_units")
    if diversity is not None and diversity < LEAST_DIVERSITY:
        return f"the winner has collapsed: its samples are {diversity:.2g} times as diverse as real images"
    if units == 0:
        return "the winner has collapsed: none of its latent dimensions carries anything (active_units 0)"
    return ""
