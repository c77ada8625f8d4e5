"""Everything that the file of a user's models needs. docs/models.md is the tutorial."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from trainables.catalog import COST, OF_SAMPLES, TRAINING
from trainables.contract import (
    Evaluation,
    Grid,
    ImageFacts,
    ImageModel,
    Judgement,
    NonFiniteError,
    Run,
    RunSpec,
    Scalar,
)
from trainables.model import Complaint, MakeImageModel, Metric, Model, Parameter, Rules, no_rules

if TYPE_CHECKING:
    from trainables.training import ImageRun

__all__ = [
    "Complaint",
    "Evaluation",
    "Grid",
    "ImageFacts",
    "ImageModel",
    "Judgement",
    "Metric",
    "Model",
    "NonFiniteError",
    "Parameter",
    "Run",
    "RunSpec",
    "Scalar",
    "image_model",
]

LOSS = Metric(
    "mean loss on held-out images",
    "a loss depends on the parameters that define it, so trials may not compare by it. Sweep on `kid`.",
)


def image_model(
    make: MakeImageModel,
    parameters: Mapping[str, Parameter],
    *,
    metrics: Mapping[str, Metric] | None = None,
    training: type[ImageRun] | None = None,
    side_multiple: int = 1,
    rules: Rules = no_rules,
) -> Model:
    """Return the declaration of a model of images.

    `make` is an ImageModel class, or a function that builds one. `parameters` are the model's own; the parameters of
    training (lr, batch_size, ema, ...) are added, and one of the same name replaces theirs. `metrics` are added to kid,
    fd, diversity, seconds and loss. `training` is a class derived from ImageRun (training.py), for a model that needs
    more than one loss. The side of an image must be a multiple of `side_multiple` pixels. `rules`
    returns what is wrong with a combination of parameters.
    """

    def run(spec: RunSpec) -> Run:
        from trainables.training import image_run

        return image_run(spec, make, training)

    return Model(
        parameters={**TRAINING, **parameters},
        metrics={**OF_SAMPLES, **COST, "loss": LOSS, **(metrics or {})},
        image_model=make,
        run=run if training else "",
        side_multiple=side_multiple,
        rules=rules,
    )
