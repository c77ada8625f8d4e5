"""A look at the images of a configuration, before anything starts."""

from trainables.catalog import MODELS
from trainables.contract import DataError
from trainables.image_summary import ImageSummary, summarise
from tune_app.config.schema import SweepConfig
from tune_app.errors import InputError


def look_at_images(config: SweepConfig, address: str | None = None) -> ImageSummary | None:
    """Return what the folder or file of images holds, or None for a built-in data set. Needs no torch.

    The images of a sweep on the cluster at `address` may lie elsewhere, so there is nothing to look at. Raise
    InputError with the first problem.
    """
    if address or not MODELS[config.model].uses_images:
        return None
    try:
        summary = summarise(config.data.spec())
    except DataError as error:
        raise InputError(f"{error.key}: {error}") from None
    if summary and not summary.has_classes and config.evaluation.features == "cnn":
        raise InputError("evaluation.features: cnn needs images of two classes or more; use randconv")
    return summary
