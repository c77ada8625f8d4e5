"""The rung ladder: the training lengths at which trials are evaluated and ASHA decides."""


def rung_ladder(grace_kimg: float, max_kimg: float, reduction_factor: float) -> list[float]:
    """Return the rungs in kimg: grace_kimg, then times reduction_factor each, and max_kimg as the last."""
    ladder: list[float] = []
    rung = grace_kimg
    while rung < max_kimg:
        ladder.append(rung)
        rung *= reduction_factor
    return [*ladder, max_kimg]
