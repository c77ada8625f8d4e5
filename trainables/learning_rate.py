"""The learning rate over a training, as a function of the images seen alone, so that a resumed run needs no state."""

from collections.abc import Mapping
from math import cos, pi

from trainables.contract import Scalar


def learning_rate(params: Mapping[str, Scalar], images: int, max_kimg: float) -> float:
    """Return the learning rate of the step that ends at `images`.

    It rises linearly over the first `lr_warmup_kimg`. With `lr_decay: cosine` it falls to 0 at `max_kimg` (Loshchilov &
    Hutter 2017, eq. 5, without restarts).
    """
    rate, warmup = float(params["lr"]), 1000 * float(params.get("lr_warmup_kimg", 0.0))
    if images < warmup:
        rate *= images / warmup
    if params.get("lr_decay") == "cosine":
        rate *= (1 + cos(pi * min(1.0, images / (1000 * max_kimg)))) / 2
    return rate
