"""The rung ladder: the training lengths at which trials are evaluated and ASHA decides."""

MOST_RUNGS = 50


def rung_ladder(grace_kimg: float, max_kimg: float, reduction_factor: float) -> list[float]:
    """Return the rungs in kimg: max_kimg divided by reduction_factor again and again, but not below grace_kimg."""
    ladder = [max_kimg]
    while (rung := round(ladder[0] / reduction_factor, 3)) >= grace_kimg:
        ladder.insert(0, rung)
    return ladder


def ladder_of_version_0_1(grace_kimg: float, max_kimg: float, reduction_factor: float) -> list[float]:
    """Return the rungs of an experiment of version 0.1: grace_kimg times reduction_factor, and max_kimg as the last."""
    ladder = [grace_kimg]
    while ladder[-1] * reduction_factor < max_kimg:
        ladder.append(ladder[-1] * reduction_factor)
    return [*ladder, max_kimg] if grace_kimg < max_kimg else [max_kimg]
